"""The playground is there at once, asks nobody else for anything, and is fetched once."""

from __future__ import annotations

import os
import statistics
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from support.browser import NewPage, Watch, violations

from serving.backends.cores import count_cores
from serving.playground.assets import PackedAssets

if TYPE_CHECKING:
    from playwright.async_api import Page

pytestmark = [pytest.mark.anyio, pytest.mark.browser]

#: Bytes of all files as they are sent; and of those that the first page needs, with their headers.
MOST, MOST_AT_FIRST = 300_000, 250_000

#: Milliseconds from the navigation's start.
_TIMES = """() => new Promise((done) => new PerformanceObserver((list) => {
  const [navigation] = performance.getEntriesByType("navigation");
  const painted = list.getEntriesByName("first-contentful-paint");
  if (painted.length) done([navigation.domContentLoadedEventEnd, painted[0].startTime]);
}).observe({type: "paint", buffered: true}))"""

_SENT = """() => ["navigation", "resource"].flatMap((kind) => performance.getEntriesByType(kind))
  .map((entry) => [new URL(entry.name).pathname, entry.transferSize, entry.encodedBodySize])"""


async def settled(page: Page) -> None:
    """Wait until the page shows itself, and asks for nothing more."""
    await page.locator("h1").first.wait_for()
    await page.wait_for_load_state("networkidle")


async def test_the_page_loads_with_nothing_wrong_and_asks_no_other_host(page: Page, watch: Watch) -> None:
    response = await page.goto("/")
    assert response is not None
    assert response.status == 200
    assert "require-trusted-types-for 'script'" in (await response.all_headers())["content-security-policy"]
    await settled(page)
    assert await page.title()
    assert len(watch.requests) > 1
    assert watch.problems() == []


async def test_files_are_fetched_once_and_the_page_each_time(new_page: NewPage) -> None:
    page = await new_page()
    await page.goto("/")
    await settled(page)
    first: dict[str, int] = {}
    for path, size, _ in await page.evaluate(_SENT):
        first[path] = first.get(path, 0) + size  # what is preloaded is there twice
    assert [path for path, size in first.items() if not size] == []
    await page.goto("/docs")
    await page.goto("/")
    await settled(page)
    again = await page.evaluate(_SENT)
    files = [(path, size) for path, size, _ in again if path.startswith("/playground/")]
    assert files
    assert [path for path, size in files if size] == []
    [(page_size, body_size)] = [(size, body) for path, size, body in again if path == "/"]
    assert 0 < page_size < body_size + 1000  # asked for, and not sent again: 304


async def test_it_is_small(page: Page) -> None:
    whole = sum(len(asset.compressed or asset.content) for asset in PackedAssets().static())
    assert whole < MOST, f"all of the playground is {whole:,} bytes as it is sent"
    await page.goto("/")
    await settled(page)
    sent = await page.evaluate(_SENT)
    # The images to try are as many as there are.
    files = [(path, size) for path, size, _ in sent if "/playground/" in path and "/examples/" not in path]
    whole = sum(size for _, size in files)
    assert 0 < whole < MOST_AT_FIRST, f"the first page needs {whole:,} bytes: {files}"


async def test_it_is_there_within_a_second(new_page: NewPage) -> None:
    times = []
    busy = crowding()
    for _ in range(5):
        page = await new_page()  # with an empty cache
        await page.goto("/")
        times.append(await page.evaluate(_TIMES))
        await settled(page)  # what is broken off would be an error
        await page.context.close()
    limit = 1000 * max(busy, crowding())
    loaded, painted = (statistics.median(values) for values in zip(*times, strict=True))
    assert loaded < limit, f"loaded after {loaded:.0f} ms, where {limit:.0f} are allowed: {times}"
    assert painted < limit, f"painted after {painted:.0f} ms, where {limit:.0f} are allowed: {times}"


def crowding() -> float:
    """How many want each core: where others take their part of them, a second takes so many times longer."""
    return max(1.0, os.getloadavg()[0] / count_cores())


async def test_page_that_is_kept_is_not_sent_again(playground: str) -> None:
    async with httpx.AsyncClient(base_url=playground) as client:
        page = await client.get("/")
        again = await client.get("/", headers={"If-None-Match": page.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        head = await client.head("/")
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == page.headers["content-length"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_it_is_accessible_as_it_loads(new_page: NewPage, scheme: Any) -> None:
    page = await new_page(color_scheme=scheme)
    await page.goto("/")
    await settled(page)
    assert await violations(page) == []
