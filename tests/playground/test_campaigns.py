"""The playground's campaigns in a real browser, against a real gateway with a worker of its own."""

from __future__ import annotations

import json
import re
import shlex
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from anyio import run_process
from support.browser import NewPage, Watch, violations
from support.campaigns import STRONG_GREEN, WEAK_RED, colours
from support.gateway_process import gateway_process
from support.tiny import solid_png

from serving.keys.store import KeyStore

if TYPE_CHECKING:
    from playwright.async_api import Browser, FilePayload, Page, Route

pytestmark = [pytest.mark.anyio, pytest.mark.browser]


def png(name: str, content: bytes) -> FilePayload:
    """A file to choose."""
    return {"name": name, "mimeType": "image/png", "buffer": content}


FILES = [
    png("red-1.png", solid_png(WEAK_RED)),
    png("red-2.png", solid_png("red")),
    png("green-1.png", solid_png(STRONG_GREEN)),
]

#: Three seconds: how long each frame took, and how long tasks of more than 50 ms held the page up in all.
_SMOOTH = """() => new Promise((done) => {
  const frames = [];
  let held = 0;
  new PerformanceObserver((list) => {
    for (const task of list.getEntries()) held += task.duration;
  }).observe({ type: "longtask" });
  const begun = performance.now();
  let last = begun;
  requestAnimationFrame(function frame(now) {
    frames.push(now - last);
    last = now;
    if (now - begun < 3000) requestAnimationFrame(frame);
    else done([frames, held]);
  });
})"""

#: Where a job is.
A_JOB = re.compile("/#/campaigns/[0-9a-f]{20}$")

JSON = {"Content-Type": "application/json"}

#: What the browser says of a refusal.
REFUSED = "the server responded with a status of {}"


@pytest.fixture(scope="module")
def url(browser: Browser, tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gateway with a data set."""
    place = tmp_path_factory.mktemp("campaigns")
    (place / "sets").mkdir()
    (place / "sets" / "colours.zip").write_bytes(colours())
    jobs = f"sqlite:///{place}/jobs.sqlite"
    with gateway_process(
        tiny_store, HOLDFAST_JOBS_DATABASE=jobs, HOLDFAST_DATASETS=str(place / "sets")
    ) as process:
        yield process.url


@pytest.fixture
async def page(new_page: NewPage, url: str) -> Page:
    """An empty page before that gateway."""
    return await new_page(url)


def expect(what: Any) -> Any:
    """What a page is to come to."""
    from playwright.async_api import expect as that

    return that(what)


async def compose(page: Page, *files: FilePayload, attack: str = "fgsm", **fields: str) -> None:
    """Fill in the form for a new campaign: an attack on these files, labelled by their names."""
    await page.goto(f"/#/campaigns/new?attack={attack}")
    await page.locator("input[type=file][multiple]").set_input_files(files)
    await page.get_by_label("The labels are").select_option("file")
    if "Restarts" in fields or "Loss" in fields:
        await page.locator("summary", has_text="More settings").click()
    for name, value in fields.items():
        await page.get_by_label(name, exact=True).fill(value)


async def begin(page: Page) -> str:
    """Start the campaign; its job."""
    await page.get_by_role("button", name="Start the campaign").click()
    await page.wait_for_url(A_JOB)
    return page.url.rsplit("/", 1)[1]


async def test_campaign_is_begun_followed_and_read(page: Page) -> None:
    await compose(page, *FILES, Name="Three colours")
    await page.get_by_role("button", name="16/255", exact=True).click()
    await page.get_by_label("Another budget").fill("64/255")
    await page.get_by_label("Another budget").press("Enter")
    await begin(page)
    await expect(page.get_by_role("heading", name="Three colours")).to_be_visible()
    await expect(page.locator("main")).to_be_focused()
    rows = page.get_by_role("region", name="What it came to").get_by_role("row")
    await expect(rows).to_have_count(5)  # the head, the model, three budgets
    await expect(rows.nth(1)).to_contain_text("clean accuracy 100.0 %")
    await expect(rows.nth(2)).to_contain_text("L∞ 8/255100.0 %")
    await expect(rows.nth(4)).to_contain_text("66.7 % [20.8 %, 93.9 %]")
    await expect(page.get_by_role("img", name="Robust accuracy under fgsm, L∞")).to_be_visible()
    assert await page.locator(".chart circle").count() == 4  # without an attack, and at each budget
    async with page.expect_download() as download:
        await page.get_by_role("button", name="All of it, as zip").click()
    names = zipfile.ZipFile(await (await download.value).path()).namelist()
    assert "runs.csv" in names
    assert any(name.endswith("fgsm-64-of-255/000000-red-1.png") for name in names)
    # The weakest image broke at the largest budget; the keyboard reaches what was made of it.
    await page.get_by_role("combobox", name="Run").select_option(label="fgsm on tiny, L∞ 64/255")
    await page.get_by_role("button", name="It broke 1").click()
    tile = page.get_by_role("button", name="red-1.png, red: fooled")
    original = await tile.locator("img").get_attribute("src")
    await tile.focus()
    await expect(tile.locator("img")).not_to_have_attribute("src", original)
    await tile.press("Enter")
    dialog = page.get_by_role("dialog", name="red-1.png")
    await expect(dialog).to_contain_text("L∞ 64/255")
    await page.keyboard.press("Escape")
    await expect(dialog).to_be_hidden()


async def test_data_set_is_attacked_as_the_address_says_and_the_command_says_the_same(
    page: Page, url: str
) -> None:
    await page.goto("/#/campaigns/new?model=tiny&attack=pgd&steps=7&epsilon=3/255")
    await expect(page.get_by_label("Steps")).to_have_value("7")
    await expect(page.get_by_role("button", name="3/255")).to_have_attribute("aria-pressed", "true")
    await page.get_by_role("radio", name="Data set").check()
    await page.get_by_role("combobox", name="Data set").select_option("colours")
    await expect(page.get_by_label("The labels are")).to_contain_text("the data set's own")
    await page.get_by_label("How many").fill("2")
    await page.locator("summary", has_text="The same with curl").click()
    command = shlex.split(await page.locator(".snippet pre").inner_text())
    assert command[:2] == ["curl", "-s"]
    assert command[-1] == f"{url}/v1/jobs"
    said = httpx.post(command[-1], content=command[command.index("-d") + 1], headers=JSON).json()
    begun = httpx.get(f"{url}/v1/jobs/{await begin(page)}").json()
    for job in (said, begun):
        assert (job["labels"], job["images"], job["runs"][0]["attack"]) == ("folder", 2, "pgd")


async def test_command_for_files_says_the_same_whatever_they_and_the_campaign_are_called(
    page: Page, url: str, tmp_path: Path
) -> None:
    named = [png(name, solid_png("red")) for name in ("red;type=a.png", "red, 'green'.png", 'red "2".png')]
    for each in named:
        (tmp_path / each["name"]).write_bytes(each["buffer"])
    await compose(page, *named, Name='@before; after, it\'s "done"')
    await page.get_by_label("The labels are").select_option("model")
    await page.locator("summary", has_text="The same with curl").click()
    text = await page.locator(".snippet pre").text_content()
    assert text is not None
    said = json.loads((await run_process(["bash", "-c", text], cwd=tmp_path)).stdout)
    begun = httpx.get(f"{url}/v1/jobs/{await begin(page)}").json()
    for job in (said, begun):
        assert (job["name"], job["labels"]) == ('@before; after, it\'s "done"', "model")
        assert (job["images"], job["runs"][0]["attack"]) == (3, "fgsm")


async def test_folder_that_is_dropped_says_by_its_folders_what_the_images_are(
    page: Page, url: str, tmp_path: Path
) -> None:
    for colour in ("green", "red"):
        (tmp_path / "colours" / colour).mkdir(parents=True)
        (tmp_path / "colours" / colour / "1.png").write_bytes(solid_png(colour))
    await page.goto("/#/campaigns/new?attack=noise")
    await page.get_by_role("radio", name="Files").check()
    tools = await page.context.new_cdp_session(page)
    dragged = {"items": [], "files": [str(tmp_path / "colours")], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        await tools.send("Input.dispatchDragEvent", {"type": kind, "x": 300, "y": 300, "data": dragged})
    files = page.get_by_role("list", name="Files").get_by_role("listitem")
    await expect(files).to_contain_text(["colours/green/1.png", "colours/red/1.png"])
    await page.get_by_label("The labels are").select_option("folder")
    answer = httpx.get(f"{url}/v1/jobs/{await begin(page)}").json()
    assert (answer["labels"], answer["images"]) == ("list", 2)


async def test_campaign_is_cancelled_and_deleted_after_a_question(page: Page, url: str) -> None:
    await compose(page, *FILES[1:], attack="pgd", Steps="10000", Restarts="100")
    job = f"{url}/v1/jobs/{await begin(page)}"
    await page.get_by_role("button", name="Cancel").click()
    await page.get_by_role("button", name="Leave it").click()
    assert httpx.get(job).json()["state"] in ("queued", "running")
    await page.get_by_role("button", name="Cancel").click()
    await page.get_by_role("button", name="Cancel it").click()
    await expect(page.get_by_text("The campaign was cancelled before")).to_be_visible()
    await page.get_by_role("button", name="Delete").click()
    await page.get_by_role("button", name="Delete it").click()
    await expect(page.get_by_role("heading", name="Campaigns", exact=True)).to_be_visible()
    assert httpx.get(job).status_code == 404


async def test_campaign_that_ends_while_it_is_asked_whether_to_cancel_it_is_kept(
    page: Page, url: str
) -> None:
    await compose(page, *FILES[1:], attack="pgd", Steps="10000", Restarts="100")
    job = f"{url}/v1/jobs/{await begin(page)}"
    await page.get_by_role("button", name="Cancel").click()
    question = page.get_by_role("dialog", name="Cancel this campaign?")
    await expect(question).to_be_visible()
    httpx.post(f"{job}/cancel").raise_for_status()
    await expect(page.locator(".state")).to_have_text("cancelled")
    await question.get_by_role("button", name="Cancel it").click()
    await expect(question).to_be_hidden()
    await expect(page.get_by_text("The campaign was cancelled before")).to_be_visible()
    assert httpx.get(job).json()["state"] == "cancelled"


async def test_page_stays_smooth_while_a_job_runs(page: Page, url: str) -> None:
    await compose(page, *FILES[1:], attack="pgd", Steps="10000", Restarts="100")
    job = await begin(page)
    await expect(page.get_by_text("running", exact=True).first).to_be_visible()
    frames, held = await page.evaluate(_SMOOTH)
    httpx.delete(f"{url}/v1/jobs/{job}").raise_for_status()
    # A tenth of the time at most, and the median frame at thirty a second or more.
    assert held < 300, f"the page was held up for {held:.0f} ms"
    assert sorted(frames)[len(frames) // 2] < 34


async def test_attack_without_a_budget_says_how_far_the_images_had_to_be_moved(page: Page) -> None:
    await compose(page, *FILES, attack="ddn", Steps="20")
    await expect(page.get_by_text("It looks for the nearest image")).to_be_visible()
    await begin(page)
    await expect(page.get_by_role("heading", name="How far the images had to be moved")).to_be_visible()
    await expect(page.get_by_role("img", name="Share of images that withstand ddn, L2")).to_be_visible()
    await expect(page.get_by_role("region", name="What it came to")).to_contain_text("nearest")


async def test_images_that_cannot_be_used_are_named_and_removed(page: Page, watch: Watch) -> None:
    watch.allow(REFUSED.format(422))
    await compose(page, *FILES, png("broken.png", b"not an image"))
    await page.get_by_role("button", name="Start the campaign").click()
    bad = page.get_by_role("list", name="Files").get_by_role("listitem").filter(has_text="broken.png")
    await expect(bad).to_contain_text("The bytes are not an image")
    await page.get_by_role("button", name="Remove what cannot be used").click()
    await expect(bad).to_have_count(0)
    await begin(page)


async def test_parameter_that_is_refused_is_said_beside_it(page: Page, watch: Watch) -> None:
    watch.allow(REFUSED.format(422))
    await compose(page, *FILES, Loss="anger")
    await page.get_by_role("button", name="Start the campaign").click()
    field = page.locator(".field", has=page.get_by_label("Loss"))
    await expect(field).to_contain_text("no loss is called 'anger'")


async def test_campaign_whose_answer_was_lost_is_not_begun_twice(page: Page, url: str, watch: Watch) -> None:
    watch.allow("ERR_FAILED")
    before = len(httpx.get(f"{url}/v1/jobs?limit=100").json()["jobs"])

    async def lose(route: Route) -> None:
        await route.fetch()
        await route.abort()

    await compose(page, *FILES)
    await page.route("**/v1/jobs", lose)
    await page.get_by_role("button", name="Start the campaign").click()
    again = page.get_by_role("button", name="Try again")
    await expect(again).to_be_visible()
    await page.unroute("**/v1/jobs")
    await again.click()
    await page.wait_for_url(A_JOB)
    assert len(httpx.get(f"{url}/v1/jobs?limit=100").json()["jobs"]) == before + 1


async def test_list_has_pages_and_leads_to_a_new_campaign(page: Page, url: str) -> None:
    for name in ("first", "second"):
        form = [("model", "tiny"), ("attack", "noise"), ("name", name)]
        parts = [(field, (None, value)) for field, value in form]
        answer = httpx.post(f"{url}/v1/jobs", files=[*parts, ("images", ("0.png", solid_png("red")))])
        assert answer.status_code == 202

    async def shorten(route: Route) -> None:
        await route.continue_(url=route.request.url.replace("limit=20", "limit=1"))

    await page.route("**/v1/jobs?*", shorten)
    await page.goto("/#/campaigns")
    await expect(page.locator(".jobs a")).to_have_text("second")
    await page.get_by_role("link", name="Older").click()
    await expect(page.locator(".jobs a")).to_have_text("first")
    await page.get_by_role("link", name="Newest").click()
    await expect(page.locator(".jobs a")).to_have_text("second")
    await page.get_by_role("link", name="New campaign").click()
    await expect(page.get_by_role("heading", name="New campaign")).to_be_visible()


async def test_key_is_asked_for_and_a_campaign_outlives_the_server(
    new_page: NewPage, browser: Browser, tiny_store: Path, tmp_path: Path, watch: Watch
) -> None:
    for said in (REFUSED.format(401), REFUSED.format(403), REFUSED.format(503), "net::ERR_"):
        watch.allow(said)
    keys = KeyStore(tmp_path / "keys.json")
    weak = keys.create("weak", ("classify",))[0].reveal()
    strong = keys.create("strong", ("classify", "attack"))[0].reveal()
    jobs = f"sqlite:///{tmp_path}/jobs.sqlite"
    with gateway_process(
        tiny_store,
        HOLDFAST_KEYS_FILE=str(keys.path),
        HOLDFAST_JOBS_DATABASE=jobs,
        HOLDFAST_JOBS_DRAIN="1",
    ) as process:
        page = await new_page(process.url)
        await page.goto("/#/campaigns")
        await expect(page.get_by_text("This needs a valid key")).to_be_visible()
        await show(page, weak)
        await expect(page.get_by_text("The key is not for this")).to_be_visible()
        await show(page, strong)
        await expect(page.get_by_text("No campaign yet")).to_be_visible()
        await compose(page, *FILES[1:], attack="pgd", Steps="10000", Restarts="100")
        job = await begin(page)
        await expect(page.locator(".state")).to_have_text("running")
        process.stop()
        note = page.get_by_text("This is how the campaign was then")
        await expect(note).to_be_visible()
        process.start()
        await expect(note).to_have_count(0)
        # What it came to is told as it happens, by the server that was started again.
        await expect(page.locator(".state")).to_have_text(re.compile("queued|running"))
        headers = {"Authorization": f"Bearer {strong}"}
        httpx.delete(f"{process.url}/v1/jobs/{job}", headers=headers).raise_for_status()
        await expect(page.locator(".state")).to_have_text("cancelled")


async def show(page: Page, key: str) -> None:
    """Enter a key."""
    await page.get_by_role("button", name="Enter a key").click()
    await page.get_by_label("Key", exact=True).fill(key)
    await page.get_by_role("button", name="Use it").click()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_campaigns_are_accessible_and_fit_a_phone(new_page: NewPage, url: str, scheme: Any) -> None:
    page = await new_page(url, color_scheme=scheme, viewport={"width": 360, "height": 740})
    await compose(page, *FILES)
    await page.get_by_role("button", name="16/255", exact=True).click()
    await page.locator("summary", has_text="More settings").click()
    await expect(page.get_by_role("list", name="Files")).to_be_visible()
    assert await faults(page) == []
    await begin(page)
    await page.get_by_role("button", name="red-1.png").click()
    await expect(page.get_by_role("dialog", name="red-1.png")).to_be_visible()
    assert await faults(page) == []
    await page.keyboard.press("Escape")
    assert await faults(page) == []
    await page.goto("/#/campaigns")
    await expect(page.locator(".jobs a").first).to_be_visible()
    assert await faults(page) == []


async def faults(page: Page) -> list[str]:
    """What axe finds, and whether the page is wider than the screen."""
    width = await page.evaluate("document.documentElement.scrollWidth")
    return await violations(page) + ([] if width <= 360 else [f"it is {width} pixels wide"])
