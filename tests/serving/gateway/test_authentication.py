"""Where there are keys, a request needs a valid one with the right scope, and is told no more than that."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.gateway import CLASSIFY, PNG, Gateway, assert_problem, gateway
from support.tiny import solid_png

from serving.gateway import gate as gate_module
from serving.gateway.app import create_app
from serving.keys import keyring
from serving.keys.record import SCOPES, Scope
from serving.keys.store import KeyFileError, KeyStore
from serving.keys.token import Token
from serving.rates import Rate
from serving.settings import Settings

pytestmark = pytest.mark.anyio

RED = solid_png("red")

#: An address for each scope, and one for any key.
ADDRESSES: dict[str, tuple[str, str]] = {
    "classify": ("GET", "/v1/models"),
    "attack": ("GET", "/v1/jobs"),
    "admin": ("GET", "/metrics"),
}


@pytest.fixture
def keys(tmp_path: Path) -> KeyStore:
    store = KeyStore(tmp_path / "keys.json")
    store.create("first", ("classify",))
    return store


@pytest.fixture
async def guarded(tiny_store: Path, keys: KeyStore, anyio_backend: str) -> AsyncIterator[Gateway]:
    """A gateway that asks for keys."""
    async with gateway(tiny_store, keys_file=keys.path) as started:
        yield started


def bearer(token: Token | str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token.reveal() if isinstance(token, Token) else token}"}


async def classify(guarded: Gateway, headers: dict[str, str]) -> httpx.Response:
    return await guarded.client.post(CLASSIFY, content=RED, headers=PNG | headers)


async def test_valid_key_is_let_in_every_time(guarded: Gateway, keys: KeyStore) -> None:
    token, _ = keys.create("mine", ("classify",))
    time.sleep(keyring.LOOK_SECONDS)
    for _ in range(3):
        response = await classify(guarded, bearer(token))
        assert response.json()["predictions"][0]["label"] == "red"
    for scheme in ("bearer", "BEARER"):
        response = await classify(guarded, {"Authorization": f"{scheme} {token.reveal()}"})
        assert response.status_code == 200


async def test_request_without_a_key_is_told_how_to_show_one(guarded: Gateway) -> None:
    response = await classify(guarded, {})
    problem = assert_problem(response, 401, "unauthenticated")
    assert response.headers["www-authenticate"] == 'Bearer realm="holdfast"'
    assert "holdfast keys create" in problem["detail"]


async def test_keys_that_are_not_valid_are_told_apart_by_nobody_who_calls(
    tiny_store: Path, keys: KeyStore
) -> None:
    expired, _ = keys.create("a", ("classify",), expires=datetime.now(UTC) - timedelta(days=1))
    revoked, _ = keys.create("b", ("classify",))
    keys.revoke(revoked.id)
    valid, _ = keys.create("c", ("classify",))
    wrong = Token(valid.id, Token.generate().secret)
    unknown = Token.generate()
    async with gateway(tiny_store, keys_file=keys.path) as started:
        answers = []
        for shown in (expired, revoked, wrong, unknown, valid.reveal()[:-1], "nonsense", ""):
            response = await classify(started, bearer(shown) | {"X-Request-Id": "same"})
            assert_problem(response, 401, "unauthenticated")
            answers.append((response.text, dict(response.headers)))
        figures = started.services.metrics.render().decode()
    assert all(answer == answers[0] for answer in answers)
    assert answers[0][1]["www-authenticate"] == 'Bearer realm="holdfast", error="invalid_token"'
    for reason, times in {"expired": 1, "revoked": 1, "wrong": 1, "unknown": 1, "malformed": 3}.items():
        assert f'holdfast_auth_failures_total{{reason="{reason}"}} {times}.0' in figures


async def test_other_scheme_than_bearer_is_no_key(guarded: Gateway) -> None:
    assert_problem(await classify(guarded, {"Authorization": "Basic YTpi"}), 401, "unauthenticated")


@pytest.mark.parametrize("scope", SCOPES)
async def test_scope_opens_its_own_addresses_and_no_others(
    tiny_store: Path, keys: KeyStore, scope: Scope
) -> None:
    token, _ = keys.create("a", (scope,))
    async with gateway(tiny_store, keys_file=keys.path) as started:
        for needed, (method, path) in ADDRESSES.items():
            response = await started.client.request(method, path, headers=bearer(token))
            if needed == scope:
                assert response.status_code == 200
                continue
            problem = assert_problem(response, 403, "missing-scope")
            assert problem["scope"] == needed
            assert f"the scope {needed}; this one has {scope}" in problem["detail"]
            assert f'error="insufficient_scope", scope="{needed}"' in response.headers["www-authenticate"]
        assert (await started.client.get("/v1/attacks", headers=bearer(token))).status_code == 200


async def test_key_of_several_scopes_opens_the_addresses_of_each(tiny_store: Path, keys: KeyStore) -> None:
    token, _ = keys.create("a", SCOPES)
    async with gateway(tiny_store, keys_file=keys.path) as started:
        for method, path in ADDRESSES.values():
            response = await started.client.request(method, path, headers=bearer(token))
            assert response.status_code == 200


@pytest.mark.parametrize(
    "path", ["/livez", "/readyz", "/", "/docs", "/problems", "/openapi.json", "/assets/style.css"]
)
async def test_health_and_pages_are_open(guarded: Gateway, path: str) -> None:
    assert (await guarded.client.get(path)).status_code == 200


@pytest.mark.parametrize("path", ["/v1/models", "/v1/attacks", "/v2", "/metrics", "/v1/admin/reload"])
async def test_all_else_is_not(guarded: Gateway, path: str) -> None:
    method = "POST" if path.endswith("reload") else "GET"
    assert_refused = await guarded.client.request(method, path)
    assert assert_refused.status_code == 401


async def test_metrics_are_open_where_a_setting_says_so(tiny_store: Path, keys: KeyStore) -> None:
    async with gateway(tiny_store, keys_file=keys.path, metrics_open=True) as started:
        assert (await started.client.get("/metrics")).status_code == 200
        assert (await started.client.get("/v1/models")).status_code == 401


async def test_nothing_of_a_request_is_read_before_its_key_is_known(guarded: Gateway) -> None:
    async def receive() -> dict[str, Any]:
        raise AssertionError("its body was asked for")

    answer = await guarded.call(receive)
    assert answer.status == 401
    bad = await guarded.client.post(f"{CLASSIFY}?top_k=nonsense", content=b"", headers=PNG)
    assert bad.status_code == 401


async def test_made_and_revoked_keys_are_known_within_a_second(guarded: Gateway, keys: KeyStore) -> None:
    token, _ = keys.create("new", ("classify",))
    time.sleep(keyring.LOOK_SECONDS)
    assert (await classify(guarded, bearer(token))).status_code == 200
    keys.revoke(token.id)
    time.sleep(keyring.LOOK_SECONDS)
    assert (await classify(guarded, bearer(token))).status_code == 401


async def test_log_has_the_keys_id_and_never_the_key(
    tiny_store: Path, keys: KeyStore, caplog: pytest.LogCaptureFixture
) -> None:
    token, _ = keys.create("a", ("classify",))
    with caplog.at_level(logging.DEBUG):
        async with gateway(tiny_store, keys_file=keys.path) as started:
            await classify(started, bearer(token))
            await classify(started, bearer(Token(token.id, "x" * 43)))
    [record] = [each for each in caplog.records if getattr(each, "fields", {}).get("status") == 200]
    assert record.fields["key"] == token.id  # type: ignore[attr-defined]
    said = "".join(f"{each.getMessage()}{getattr(each, 'fields', '')}" for each in caplog.records)
    assert token.secret not in said
    assert "x" * 43 not in said


async def test_keys_that_are_none_are_not_hashed_without_end(
    guarded: Gateway, keys: KeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hash takes long; who knows no key may not keep the server at it."""
    monkeypatch.setattr(gate_module, "_FAILURES", Rate(3, 60))
    token, _ = keys.create("a", ("classify",))
    time.sleep(keyring.LOOK_SECONDS)
    assert (await classify(guarded, bearer(token))).status_code == 200
    for _ in range(3):
        assert (await classify(guarded, bearer(Token.generate()))).status_code == 401
    refused = await classify(guarded, bearer(Token.generate()))
    assert_problem(refused, 429, "rate-limited")
    assert int(refused.headers["retry-after"]) <= 20
    assert (await classify(guarded, bearer(token))).status_code == 200


def test_gateway_with_no_valid_key_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="no file of keys"):
        create_app(Settings(model_store=tmp_path, keys_file=tmp_path / "keys.json"))


async def test_description_says_which_scope_opens_what(guarded: Gateway) -> None:
    document = (await guarded.client.get("/openapi.json")).json()
    assert document["components"]["securitySchemes"]["apiKey"]["scheme"] == "bearer"
    security = {
        path: operation["security"]
        for path, operations in document["paths"].items()
        for operation in operations.values()
    }
    assert security["/v1/models/{model}/classify"] == [{"apiKey": ["classify"]}]
    assert security["/v1/models/{model}/attack"] == [{"apiKey": ["attack"]}]
    assert security["/v1/attacks"] == [{"apiKey": []}]
    assert security["/metrics"] == [{"apiKey": ["admin"]}]
    assert security["/livez"] == []


async def test_description_of_a_gateway_without_keys_says_that_none_is_needed(tiny: Gateway) -> None:
    document = (await tiny.client.get("/openapi.json")).json()
    operation = document["paths"]["/v1/models/{model}/classify"]["post"]
    assert operation["security"] == [{}, {"apiKey": ["classify"]}]
    assert {"401", "403", "429"} <= set(operation["responses"])
