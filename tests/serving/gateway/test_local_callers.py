"""Without keys, the pages of other hosts get nothing out of a gateway on loopback."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.gateway import CLASSIFY, PNG, Gateway, assert_problem, gateway
from support.tiny import solid_png

pytestmark = pytest.mark.anyio

RED = solid_png("red")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "localhost.evil.example", "10.0.0.7"])
async def test_name_that_was_made_to_lead_here_gets_no_answer(tiny: Gateway, host: str) -> None:
    answer = await tiny.client.get("/v1/models", headers={"Host": host})
    assert_problem(answer, 403, "foreign-page")
    assert "HOLDFAST_ALLOWED_HOSTS" in answer.json()["detail"]


@pytest.mark.parametrize(
    "host", ["localhost:8000", "127.0.0.1:8000", "127.0.0.2", "[::1]:8000", "a.localhost"]
)
async def test_names_of_this_machine_are_answered(tiny: Gateway, host: str) -> None:
    assert (await tiny.client.get("/v1/models", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost.evil.example"])
async def test_form_of_a_foreign_page_is_refused(tiny: Gateway, origin: str) -> None:
    files = {"image": ("red.png", RED, "image/png")}
    answer = await tiny.client.post(CLASSIFY, files=files, headers={"Origin": origin})
    assert_problem(answer, 403, "foreign-page")
    assert (await tiny.client.post("/v1/admin/reload", headers={"Origin": origin})).status_code == 403


async def test_pages_of_this_server_may_call_it(tiny: Gateway) -> None:
    headers = PNG | {"Origin": "http://localhost:8000"}
    assert (await tiny.client.post(CLASSIFY, content=RED, headers=headers)).status_code == 200


async def test_hosts_and_origins_that_are_set_are_let_in(tiny_store: Path) -> None:
    names = {"allowed_hosts": "api.example", "cors_origins": "https://page.example"}
    async with gateway(tiny_store, **names) as served:
        headers = PNG | {"Host": "api.example", "Origin": "https://page.example"}
        assert (await served.client.post(CLASSIFY, content=RED, headers=headers)).status_code == 200


@pytest.mark.parametrize(
    ("host", "status"), [("gateway:8000", 200), ("127.0.0.1", 200), ("evil.example", 403)]
)
async def test_whoever_opened_it_and_named_its_hosts_has_them_checked(
    tiny_store: Path, host: str, status: int
) -> None:
    async with gateway(tiny_store, allow_unauthenticated=True, allowed_hosts="gateway") as served:
        assert (await served.client.get("/v1/models", headers={"Host": host})).status_code == status


async def test_whoever_opened_it_to_all_gets_no_such_check(tiny_store: Path) -> None:
    async with gateway(tiny_store, allow_unauthenticated=True) as served:
        answer = await served.client.get("/v1/models", headers={"Host": "api.example"})
        assert answer.status_code == 200
