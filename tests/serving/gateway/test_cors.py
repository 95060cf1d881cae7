"""Pages of other origins may call where a setting names them, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.gateway import CLASSIFY, PNG, Gateway, gateway
from support.tiny import solid_png

from holdfast.errors import UsageError
from serving.keys.store import KeyStore
from serving.settings import load_settings

pytestmark = pytest.mark.anyio

HERE, THERE = "https://page.example", "https://elsewhere.example"
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}


async def test_it_is_closed_unless_a_setting_opens_it(tiny: Gateway) -> None:
    response = await tiny.client.get("/v1/models", headers={"Origin": HERE})
    assert not [name for name in response.headers if name.startswith("access-control")]
    preflight = await tiny.client.options(CLASSIFY, headers={"Origin": HERE} | PREFLIGHT)
    assert preflight.status_code == 405


async def test_named_origin_may_call_and_read_what_it_needs(tiny_store: Path) -> None:
    async with gateway(tiny_store, cors_origins=f"{HERE},https://b.example") as started:
        response = await started.client.post(
            CLASSIFY, content=solid_png("red"), headers=PNG | {"Origin": HERE}
        )
        assert response.headers["access-control-allow-origin"] == HERE
        exposed = response.headers["access-control-expose-headers"].lower()
        for name in ("x-request-id", "retry-after", "ratelimit", "location", "holdfast-outcome"):
            assert name in exposed
        assert "access-control-allow-credentials" not in response.headers
        other = await started.client.get("/v1/models", headers={"Origin": THERE})
        assert "access-control-allow-origin" not in other.headers


async def test_preflight_needs_no_key(tiny_store: Path, tmp_path: Path) -> None:
    keys = KeyStore(tmp_path / "keys.json")
    keys.create("a", ("classify",))
    async with gateway(tiny_store, cors_origins=HERE, keys_file=keys.path) as started:
        response = await started.client.options(CLASSIFY, headers={"Origin": HERE} | PREFLIGHT)
        assert response.status_code == 200
        assert "authorization" in response.headers["access-control-allow-headers"].lower()
        assert "x-request-id" in response.headers
        refused = await started.client.options(CLASSIFY, headers={"Origin": THERE} | PREFLIGHT)
        assert refused.status_code == 400


async def test_page_can_read_why_it_was_refused(tiny_store: Path, tmp_path: Path) -> None:
    keys = KeyStore(tmp_path / "keys.json")
    keys.create("a", ("classify",))
    async with gateway(tiny_store, cors_origins=HERE, keys_file=keys.path) as started:
        response = await started.client.get("/v1/models", headers={"Origin": HERE})
        assert (response.status_code, response.headers["access-control-allow-origin"]) == (401, HERE)


@pytest.mark.parametrize("origins", ["page.example", "https://page.example/", "https://a b", "null", "**"])
def test_what_is_no_origin_is_refused(origins: str) -> None:
    with pytest.raises(UsageError, match="HOLDFAST_CORS_ORIGINS"):
        load_settings(cors_origins=origins)


def test_origins_stand_between_commas_or_blanks() -> None:
    assert load_settings(cors_origins=f" {HERE}, {THERE} ").cors_origins == (HERE, THERE)
    assert load_settings(cors_origins="*").cors_origins == ("*",)
    assert load_settings().cors_origins == ()
