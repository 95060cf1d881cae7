"""The pages for people are honest, and load nothing from any other host."""

from __future__ import annotations

import re

import pytest
from support.gateway import Gateway

pytestmark = pytest.mark.anyio

PAGES = ["/docs", "/problems"]


@pytest.mark.parametrize("path", PAGES)
async def test_page_may_load_nothing_from_another_host(tiny: Gateway, path: str) -> None:
    response = await tiny.client.get(path)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(
        part.strip().split(" ", 1) for part in response.headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    sources = {source for sources in policy.values() for source in sources.split()}
    assert sources <= {"'none'", "'self'", "'unsafe-inline'", "data:"}
    assert policy["script-src"] == "'self'"


@pytest.mark.parametrize("path", PAGES)
async def test_everything_that_a_page_refers_to_is_here(tiny: Gateway, path: str) -> None:
    text = (await tiny.client.get(path)).text
    references = re.findall(r'(?:src|href)="([^"]+)"', text)
    assert references
    for reference in references:
        assert reference.startswith("/")
        response = await tiny.client.get(reference)
        assert response.status_code == 200, reference
        assert response.content


async def test_docs_show_this_servers_description(tiny: Gateway) -> None:
    start = (await tiny.client.get("/assets/docs.js")).text
    assert 'url: "/openapi.json"' in start
    assert "validatorUrl: null" in start
    swagger = await tiny.client.get("/assets/swagger-ui-bundle.js")
    assert swagger.headers["content-type"].startswith("text/javascript")
    assert "SwaggerUIBundle" in swagger.text
