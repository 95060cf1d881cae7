"""Every answer carries an id: the caller's own where it is well formed."""

from __future__ import annotations

import re

import pytest
from support.gateway import CLASSIFY, PNG, Gateway
from support.tiny import solid_png

pytestmark = pytest.mark.anyio

MADE = re.compile(r"[0-9a-f]{32}")


@pytest.mark.parametrize(
    "given", ["a", "my-id_1.2:3/4+5=6@7", "0f8b6c1e-5d7a-4f0c-9b3e-2a1d6c5f4e3b", "x" * 128]
)
async def test_well_formed_id_is_kept(tiny: Gateway, given: str) -> None:
    response = await tiny.client.get("/livez", headers={"X-Request-Id": given})
    assert response.headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "two words", 'a"b', "a\tb", "x" * 129, "ä".encode(), "a;b", "{a}"])
async def test_ill_formed_id_is_replaced(tiny: Gateway, given: str | bytes) -> None:
    response = await tiny.client.get("/livez", headers={"X-Request-Id": given})
    assert MADE.fullmatch(response.headers["x-request-id"])


async def test_two_ids_are_none(tiny: Gateway) -> None:
    response = await tiny.client.get("/livez", headers=[("X-Request-Id", "a"), ("X-Request-Id", "b")])
    assert MADE.fullmatch(response.headers["x-request-id"])
    assert len(response.headers.get_list("x-request-id")) == 1


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/nowhere"),
        ("DELETE", "/livez"),
        ("POST", CLASSIFY),
        ("POST", "/v1/models/x/classify"),
    ],
)
async def test_errors_carry_it_too(tiny: Gateway, method: str, path: str) -> None:
    response = await tiny.client.request(method, path, headers={"X-Request-Id": "mine"})
    assert response.headers["x-request-id"] == "mine"


async def test_answer_and_problem_name_it_in_the_body(tiny: Gateway) -> None:
    headers = {**PNG, "X-Request-Id": "mine"}
    for content, status in ((solid_png("red"), 200), (b"nothing", 422)):
        response = await tiny.client.post(CLASSIFY, content=content, headers=headers)
        assert (response.status_code, response.json()["request_id"]) == (status, "mine")


async def test_made_ids_differ(tiny: Gateway) -> None:
    ids = {(await tiny.client.get("/livez")).headers["x-request-id"] for _ in range(20)}
    assert len(ids) == 20
