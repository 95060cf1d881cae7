"""The playground's monitor moves with the traffic, asks for what has changed, and says what is unusual."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from support.browser import Watch, opened, violations
from support.page_scripts import imported

from holdfast.interval import wilson
from holdfast.manifest import Verdict

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page, Request, Route

pytestmark = [pytest.mark.anyio, pytest.mark.browser]

EXAMPLE = Path(__file__).parents[2] / "serving/playground/examples/cifar10/0001-ship.png"
PNG = {"Content-Type": "image/png"}
ATLD = "atld-cifar10"
MONITOR = "**/v1/monitor*"


@pytest.fixture(scope="module")
async def watch() -> Watch:
    """What watches the page of all tests; some of them take the server away."""
    started = Watch()
    started.allow("40[13]|ERR_FAILED")
    return started


@pytest.fixture(scope="module")
async def shared(browser: Browser, playground: str, watch: Watch) -> AsyncIterator[Page]:
    """One page, whose time is the test's."""
    async with opened(browser, playground, watch) as page:
        await page.clock.install()
        await page.goto("/#/monitor")
        yield page
    assert watch.problems() == []


@pytest.fixture
async def page(shared: Page) -> AsyncIterator[Page]:
    """The monitor, just come to."""
    await shared.goto("/#/models")
    await shared.goto("/#/monitor")
    yield shared
    await shared.unroute_all()


async def reading(page: Page, name: str) -> str:
    """What a tile says."""
    tile = page.locator(".reading").filter(has=page.get_by_text(name, exact=True))
    return await tile.locator("strong").inner_text()


async def verdicts(page: Page) -> dict[str, int]:
    """How many images were judged how, as the plot's legend says."""
    rows = await page.locator(".stack").first.locator("tbody tr").all_inner_texts()
    found = (row.split() for row in rows)
    return {name: int(many.replace(",", "")) for name, many in found}


async def test_it_moves_when_images_are_classified(page: Page, playground: str) -> None:
    async with httpx.AsyncClient(base_url=playground, headers=PNG) as client:

        async def classify(defence: str) -> Verdict:
            path = f"/v1/models/{ATLD}/classify?defence={defence}"
            answer = await client.post(path, content=EXAMPLE.read_bytes())
            verdict: Verdict = answer.json()["predictions"][0]["manifold"]["verdict"]
            return verdict

        verdict = await classify("imt")
        # What other tests asked is not to fall out of sight meanwhile.
        await page.get_by_role("button", name="15 minutes").click()
        await page.get_by_text("15 minutes ago").first.wait_for()
        before, requests = await verdicts(page), int((await reading(page, "Requests")).replace(",", ""))
        for _ in range(3):
            await classify("imt")
        await page.clock.run_for(2_500)
        await page.wait_for_function(
            "(than) => Number(document.querySelector('.reading strong').innerText.replace(/,/g, '')) >= than",
            arg=requests + 3,
        )
    after = await verdicts(page)
    assert after[verdict] >= before[verdict] + 3
    table = page.get_by_role("region", name="By model and defence, the table")
    row = table.get_by_role("row").filter(has=page.get_by_role("cell", name="IMT", exact=True))
    assert ATLD in await row.inner_text()
    assert "1.0 %" in await row.inner_text()  # what the manifest says of natural images
    assert await violations(page) == []


async def test_it_asks_for_what_has_changed_while_somebody_looks(page: Page, watch: Watch) -> None:
    def asked() -> list[Request]:
        return [each for each in watch.requests if "/v1/monitor" in each.url]

    await page.locator(".reading").first.wait_for()
    async with page.expect_request(MONITOR) as again:
        await page.clock.run_for(2_500)
    assert (await again.value).headers["if-none-match"].startswith("W/")
    await (await again.value).response()

    await page.get_by_role("button", name="Pause").click()
    many = len(asked())
    await page.clock.run_for(10_000)
    assert len(asked()) == many
    async with page.expect_request(MONITOR):
        await page.get_by_role("button", name="Go on").click()

    await page.evaluate(
        "Object.defineProperty(document, 'visibilityState', {value: 'hidden', configurable: true})"
    )
    await page.clock.run_for(3_000)
    many = len(asked())
    await page.clock.run_for(10_000)
    assert len(asked()) == many
    async with page.expect_request(MONITOR):
        await page.evaluate(
            "delete document.visibilityState; document.dispatchEvent(new Event('visibilitychange'))"
        )

    async with page.expect_request("**/v1/monitor?minutes=15"):
        await page.get_by_role("button", name="15 minutes").click()


async def test_it_says_when_the_key_is_not_enough(page: Page) -> None:
    problem = {
        "type": "/problems#missing-scope",
        "title": "Not with this key",
        "detail": "No.",
        "status": 403,
    }
    await page.route(
        MONITOR,
        lambda route: route.fulfill(
            status=403, content_type="application/problem+json", body=json.dumps(problem)
        ),
    )
    await page.get_by_role("button", name="5 minutes", exact=True).click()
    await page.clock.run_for(2_500)
    note = page.get_by_role("alert")
    await note.get_by_text("Not with this key").wait_for()
    await note.get_by_role("button", name="Enter a key").click()
    await page.unroute_all()
    await page.get_by_label("Key", exact=True).fill("hf_another")
    await page.get_by_role("button", name="Use it").click()
    await page.locator(".reading").first.wait_for()
    assert await note.count() == 0


async def test_it_keeps_what_it_knows_when_the_server_goes_away(page: Page) -> None:
    await page.locator(".reading").first.wait_for()
    await page.route(MONITOR, lambda route: route.abort())
    await page.clock.run_for(2_500)
    await page.get_by_role("alert").get_by_text("The server does not answer").wait_for()
    assert await page.get_by_text("What is here is from before.").is_visible()
    assert await page.locator(".reading").first.is_visible()
    await page.unroute_all()
    await page.clock.run_for(2_500)
    await page.get_by_text("Looked at every two seconds.").wait_for()


async def test_no_traffic_is_said_and_more_suspects_than_usual_are(page: Page) -> None:
    suspects = 0

    async def other(route: Route) -> None:
        response = await route.fetch()
        content = await response.json()
        for each in ("requests", "attack_requests", "classifications"):
            content[each]["total"]["requests"] = suspects
        content["in_flight"] = [0 for _ in content["in_flight"]]
        total = content["classifications"]["total"] | {
            "requests": 40,
            "images": 40,
            "natural": 30,
            "suspect": 10,
        }
        asked = {"model": ATLD, "version": "1", "defence": "none", "total": total}
        content["models"] = [asked | {"series": content["classifications"]["series"]}] if suspects else []
        await route.fulfill(status=200, content_type="application/json", body=json.dumps(content))

    await page.route(MONITOR, other)
    await page.clock.run_for(2_500)
    await page.get_by_text("No request in the last 5 minutes").wait_for()
    suspects = 10
    await page.clock.run_for(2_500)
    await page.get_by_text("More suspect images than natural ones would give").wait_for()
    assert await page.get_by_text(
        "10 of 40 images are suspect, 25.0 %; of natural images alone, 1.0 % would be."
    ).is_visible()


async def test_its_arithmetic(page: Page) -> None:
    script = """
      const { suspicion, wilson } = await from("pages/monitor/suspects.js");
      const { bars, points } = await from("pages/monitor/steps.js");
      const of = (natural, suspect, rate) => suspicion({ natural, uncertain: 0, suspect }, rate).kind;
      const steps = Array.from({ length: 180 }, (_, i) => i);
      const report = (begin) => ({ steps: 180, step_s: 5, begin });
      const early = bars(report("2026-01-01T00:00:00Z"), [steps]);
      const late = bars(report("2026-01-01T00:00:05Z"), [steps.map((each) => each + 1)]);
      return {
        wilson: given.map(([hits, of]) => wilson(hits, of)),
        kinds: [of(0, 0, 0.01), of(5, 5, 0.01), of(99, 1, 0.01), of(90, 10, 0.01), of(90, 10, undefined)],
        sum: early.flat().reduce((a, b) => a + b), most: Math.max(early.length, late.length),
        same: [early[10], late[10]],
        points: points({ steps: 3, step_s: 60 }, [4, null, 6]),
      };
    """
    cases = [(0, 10), (3, 40), (40, 40)]
    found: dict[str, Any] = await imported(page, script, cases)
    for (hits, of), interval in zip(cases, found["wilson"], strict=True):
        assert interval == pytest.approx(wilson(hits, of), abs=1e-6)
    assert found["kinds"] == ["none", "few", "usual", "more", "unknown"]
    assert found["sum"] == sum(range(180))
    assert found["most"] <= 61
    assert found["same"][0] == found["same"][1]  # a bar stays what it is as time goes on
    assert found["points"] == [[-2, 4], [0, 6]]
