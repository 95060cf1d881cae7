"""The probe: an image, what the model says of it, an attack on it, and what came of that."""

from __future__ import annotations

import base64
import io
import os
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
from anyio import run_process
from PIL import Image
from support.browser import NewPage, Watch, violations
from support.gateway_process import gateway_process
from support.tiny import CLASSES, make_tiny_bundle, solid_png

from holdfast.attacks.catalogue import catalogue

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page, Route

pytestmark = [pytest.mark.anyio, pytest.mark.browser]

ROOT = Path(__file__).parents[2]
IMAGES, MODELS = ROOT / "examples" / "images", ROOT / "model_store"

#: As short as each attack may be: here its form and its way to the server are tried.
SHORT = {
    "steps": "2",
    "query_budget": "40",
    "tries": "2",
    "samples": "8",
    "searches": "1",
    "final_search": "1",
}

_TRANSFER = """([kind, bytes, name, type]) => {
  const data = new DataTransfer();
  data.items.add(new File([Uint8Array.from(atob(bytes), (each) => each.charCodeAt(0))], name, { type }));
  const options = { bubbles: true, cancelable: true };
  const send = (event) => document.body.dispatchEvent(event);
  if (kind === "paste") send(new ClipboardEvent("paste", { ...options, clipboardData: data }));
  else for (const each of ["dragover", "drop"]) send(new DragEvent(each, { ...options, dataTransfer: data }));
}"""


async def give(page: Page, kind: str, content: bytes, name: str, media_type: str) -> None:
    """Drop a file on the page, or paste it."""
    await page.evaluate(_TRANSFER, [kind, base64.b64encode(content).decode(), name, media_type])


async def open_probe(page: Page, model: str = "") -> None:
    """The probe, with the first example classified."""
    await page.goto(f"/#/?model={model}" if model else "/")
    await page.locator(".answers .headline").first.wait_for()


async def attack(page: Page) -> dict[str, Any]:
    """Press the button, wait until the result is shown, and return what the API answers to the same request.

    The image is the ship, whether it is the example of that name or was given.
    """
    async with page.expect_request(lambda request: "/attack?" in request.url) as waiting:
        await page.get_by_role("button", name="Attack", exact=True).click()
    request = await waiting.value
    await page.locator(".outcome .verdict-box").wait_for()
    answer = httpx.post(
        request.url,
        content=(IMAGES / "ship.png").read_bytes(),
        headers={"Content-Type": "image/png", "Accept": "application/json"},
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def until(page: Page, condition: str) -> None:
    """Wait for a condition. Playwright's own way is to evaluate it in the page, whose policy forbids that."""
    with anyio.fail_after(30):
        while not await page.evaluate(condition):
            await anyio.sleep(0.05)


def percent(probability: float) -> str:
    return f"{100 * probability:.1f} %"


@pytest.mark.parametrize("kind", ["drop", "paste"])
async def test_an_image_that_is_given_is_classified_as_the_api_does(
    page: Page, playground: str, kind: str
) -> None:
    content = (IMAGES / "horse.png").read_bytes()
    await open_probe(page)
    await give(page, kind, content, "horse.png", "image/png")
    await page.get_by_text("horse.png", exact=True).wait_for()
    said = httpx.post(
        f"{playground}/v1/models/pgd-at-cifar10/classify",
        content=content,
        headers={"Content-Type": "image/png"},
    ).json()["predictions"][0]
    headline = page.locator(".answers .headline")
    assert said["label"] == "horse"
    await page.locator(".answers .headline", has_text="horse").wait_for()
    assert (await headline.inner_text()).split("\n")[-1].endswith(percent(said["probability"]))
    rows = await page.locator(".answers tbody tr").all_inner_texts()
    assert [row.split("\t")[0].split("\n")[0].strip() for row in rows] == [
        each["label"] for each in said["top_k"]
    ]


async def test_a_file_that_is_no_image_is_refused_with_what_is_needed(page: Page) -> None:
    await open_probe(page)
    await give(page, "drop", b"words", "notes.txt", "text/plain")
    await page.get_by_text("That is no image").wait_for()
    await page.get_by_text("0001-ship.png").wait_for()


async def test_an_example_that_comes_late_does_not_replace_what_was_chosen_since(page: Page) -> None:
    await open_probe(page)
    asked, wanted = anyio.Event(), anyio.Event()

    async def late(route: Route) -> None:
        if route.request.resource_type == "fetch":  # not its button's picture
            asked.set()
            await wanted.wait()
        await route.continue_()

    await page.route("**/0003-airplane.png", late)
    await page.get_by_title("airplane").first.click()
    await asked.wait()
    await give(page, "drop", (IMAGES / "horse.png").read_bytes(), "horse.png", "image/png")
    await page.get_by_text("horse.png", exact=True).wait_for()
    async with page.expect_response("**/0003-airplane.png") as waiting:
        wanted.set()
    await (await waiting.value).finished()
    await anyio.sleep(0.3)
    assert await page.get_by_text("horse.png", exact=True).is_visible()
    assert not await page.get_by_text("0003-airplane.png", exact=True).is_visible()


async def test_a_damaged_image_shows_what_the_server_says_of_it(page: Page, watch: Watch) -> None:
    watch.allow("status of 4")
    await open_probe(page)
    await give(page, "drop", b"\x89PNG\r\n\x1a\nand no more", "broken.png", "image/png")
    note = page.locator(".answers .note.bad")
    await note.wait_for()
    assert "image" in await note.inner_text()


async def test_a_picture_of_the_camera_is_classified(new_page: Any) -> None:
    page = await new_page(permissions=["camera"])
    await open_probe(page)
    await page.get_by_role("button", name="Camera").click()
    await until(page, "document.querySelector('dialog video')?.videoWidth > 0")
    await page.get_by_role("button", name="Take it").click()
    await page.get_by_text("camera.png", exact=True).wait_for()
    await page.locator(".answers .headline").wait_for()


async def test_every_attack_has_its_form_and_can_be_carried_out(page: Page) -> None:
    await open_probe(page)
    await page.get_by_text("More settings").click()
    form = page.locator("section.form")
    for name, entry in catalogue().items():
        await page.get_by_label("Attack", exact=True).select_option(name)
        parameters = entry.parameters.model_json_schema()["properties"]
        for parameter in parameters:
            words = parameter.replace("_", " ").capitalize()
            control = form.get_by_label("Budget ε" if parameter == "epsilon" else words, exact=True)
            assert await control.count() == 1, f"{name} has no field for {parameter}"
            if parameter in SHORT:
                await control.fill(SHORT[parameter])
        answer = await attack(page)
        assert answer["attack"]["name"] == name
        chosen = answer["attack"]["parameters"]
        assert {key: str(chosen[key]) for key in SHORT if key in parameters} == {
            key: value for key, value in SHORT.items() if key in parameters
        }
        assert await page.locator(".outcome .facts dd").count() == 6


async def test_what_came_of_an_attack_is_shown_as_the_server_said_it(page: Page, tmp_path: Path) -> None:
    await open_probe(page, "atld-cifar10")
    answer = await attack(page)
    assert answer["outcome"] == "fooled"
    outcome = page.locator(".outcome")
    cards = outcome.locator(".columns .answer")
    for card, (defence, said) in zip(await cards.all(), answer["predictions"].items(), strict=True):
        text = await card.inner_text()
        assert percent(said["before"]["probability"]) in text, defence
        assert percent(said["after_in_8_bits"]["probability"]) in text, defence
        assert ("fooled" if said["fooled"] else "held") in text, defence
    # The perturbation that is drawn is the difference of the two images, so many times.
    values = await outcome.locator("canvas").evaluate(
        "(canvas) => [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data]"
    )
    before, after = (
        Image.open(io.BytesIO(base64.b64decode(answer[each]["base64"]))).convert("RGBA").tobytes()
        for each in ("original", "adversarial")
    )
    scale = round(answer["perturbation"]["scale"])
    for i, value in enumerate(values):
        if i % 4 != 3:
            assert abs(value - min(255, max(0, 127.5 + scale * (after[i] - before[i])))) <= 1
    async with page.expect_download() as waiting:
        await page.get_by_role("button", name="Save the adversarial PNG").click()
    download = await waiting.value
    assert download.suggested_filename == "0001-ship-pgd.png"
    await download.save_as(tmp_path / "saved.png")
    assert (tmp_path / "saved.png").read_bytes() == base64.b64decode(answer["adversarial"]["base64"])


async def test_the_way_of_an_attack_can_be_gone_step_by_step(page: Page) -> None:
    await open_probe(page)
    steps = (await attack(page))["trace"]["steps"]
    slider = page.get_by_label("Step of the attack")
    seen = []
    for place in (0, len(steps) // 2, len(steps) - 1):
        await slider.fill(str(place))
        await page.locator(".steps .headline", has_text=percent(steps[place]["probability"])).wait_for()
        seen.append(await page.locator(".steps .fill").first.get_attribute("style"))
    assert len(set(seen)) == 3
    assert await slider.get_attribute("max") == str(len(steps) - 1)
    await page.get_by_role("button", name="Play").click()
    await page.get_by_role("button", name="Pause").wait_for()
    await until(page, "document.querySelector('.steps input').value !== '0'")


async def test_the_same_request_as_curl_and_as_python_gives_the_same_image(
    page: Page, playground: str, tmp_path: Path
) -> None:
    await open_probe(page)
    await page.get_by_label("Steps").fill("5")
    expected = base64.b64decode((await attack(page))["adversarial"]["base64"])
    shutil.copy(IMAGES / "ship.png", tmp_path / "0001-ship.png")
    saved = tmp_path / "adversarial.png"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for label, program in (("curl", ["bash", "-c"]), ("Python", [sys.executable, "-c"])):
        text = await page.locator(".snippet", has_text=label).locator("pre").text_content()
        assert text is not None
        assert playground in text
        await run_process([*program, text], cwd=tmp_path, env=environment)
        assert saved.read_bytes() == expected, label
        saved.unlink()


async def test_the_other_models_are_attacked_alike(page: Page) -> None:
    await open_probe(page)
    await attack(page)
    await page.get_by_role("button", name=re.compile("Attack the other")).click()
    table = page.locator(".compare table[aria-busy=false]")
    await table.wait_for()
    rows = await table.locator("tbody tr").all_inner_texts()
    models = {row.split("\t")[0]: row for row in rows}
    assert {"pgd-at-cifar10", "standard-cifar10", "fs-cifar10", "atld-cifar10"} <= models.keys()
    assert "held" in models["pgd-at-cifar10"]
    assert "fooled" in models["standard-cifar10"]


async def label_sent(page: Page) -> str | None:
    """Attack, and return the class that the request says the image is of."""
    async with page.expect_request(lambda request: "/attack?" in request.url) as waiting:
        await page.get_by_role("button", name="Attack", exact=True).click()
    await page.locator(".outcome .verdict-box").wait_for()
    sent: str | None = httpx.URL((await waiting.value).url).params.get("label")
    return sent


async def test_a_class_that_was_chosen_is_not_sent_where_it_is_not_meant(
    browser: Browser, new_page: NewPage, tmp_path: Path
) -> None:
    for name in ("pgd-at-cifar10", "standard-cifar10"):
        shutil.copytree(MODELS / name, tmp_path / "store" / name)
    make_tiny_bundle(tmp_path / "store")
    jobs = f"sqlite:///{tmp_path}/jobs.sqlite"
    unsaid = "document.querySelector('#attack-label').value === 'known'"
    with gateway_process(tmp_path / "store", HOLDFAST_JOBS_DATABASE=jobs) as process:
        page = await new_page(process.url)
        await open_probe(page, "pgd-at-cifar10")
        assert await label_sent(page) == "ship"
        await page.get_by_text("More settings").click()
        label, model = page.get_by_label("The image is of"), page.get_by_label("Model", exact=True)
        await label.select_option("cat")
        # It is still the same image, and the other model has the same classes.
        async with page.expect_response("**/v1/models/standard-cifar10/**/classify*"):
            await model.select_option("standard-cifar10")
        assert await label_sent(page) == "cat"
        # This one has others, and what the image is labelled is none of them either.
        await model.select_option("tiny")
        await label.locator("option", has_text=CLASSES[-1]).wait_for(state="attached")
        assert await label.locator("option").all_inner_texts() == ["what the model says it is", *CLASSES]
        await until(page, unsaid)
        assert await label_sent(page) is None
        # And a class is said of one image, not of the next.
        await label.select_option("green")
        await give(page, "drop", solid_png("red"), "red.png", "image/png")
        await page.get_by_text("red.png", exact=True).wait_for()
        await until(page, unsaid)


async def test_an_attack_that_runs_can_be_stopped(page: Page) -> None:
    await open_probe(page)
    await page.get_by_label("Attack", exact=True).select_option("square")
    await page.get_by_role("button", name="Attack", exact=True).click()
    await page.get_by_text(re.compile(r"of at most 5,000 steps")).wait_for()
    await page.get_by_role("button", name="Stop").click()
    await page.get_by_role("button", name="Attack", exact=True).wait_for()
    assert await page.locator(".outcome .verdict-box").count() == 0
    await page.get_by_text("No attack yet").wait_for()


async def test_values_that_cannot_be_are_told_where_they_stand(page: Page, watch: Watch) -> None:
    watch.allow("status of 422")
    await open_probe(page)
    await page.get_by_label("Budget ε").fill("much")
    button = page.get_by_role("button", name="Attack", exact=True)
    assert await button.is_disabled()
    assert await page.get_by_label("Budget ε").get_attribute("aria-invalid") == "true"
    await page.get_by_label("Budget ε").fill("4/255")
    await page.get_by_text("More settings").click()
    await page.get_by_label("Loss").fill("nonsense")
    await button.click()
    await page.locator(".field.wrong", has_text="Loss").locator(".complaint").wait_for()


async def test_the_slider_reaches_budgets_as_large_as_those_of_digits(page: Page) -> None:
    await open_probe(page)
    slider = page.get_by_label("Budget, as a slider")
    assert await slider.get_attribute("max") == "32"
    await page.get_by_label("Budget ε").fill("0.3")
    await until(page, "document.querySelector('.of-budget input[type=range]').max === '255'")
    assert await slider.input_value() == "77"
    await slider.fill("16")
    assert await page.get_by_label("Budget ε").input_value() == "16/255"


async def test_an_attack_that_costs_too_much_leads_to_a_campaign(page: Page, watch: Watch) -> None:
    watch.allow("status of 422")
    await open_probe(page)
    await page.get_by_label("Attack", exact=True).select_option("spsa")
    await page.get_by_label("Steps").fill("10000")
    await page.get_by_role("button", name="Attack", exact=True).click()
    link = page.get_by_role("link", name="Make it a campaign")
    assert "attack=spsa" in (await link.get_attribute("href") or "")


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
async def test_it_is_accessible_in_both_themes_wide_and_narrow(
    new_page: Any, scheme: str, width: int
) -> None:
    page = await new_page(color_scheme=scheme, viewport={"width": width, "height": 800})
    await open_probe(page, "atld-cifar10")
    await attack(page)
    assert await violations(page) == []
    assert await page.evaluate("document.documentElement.scrollWidth") <= width


async def test_an_attack_takes_nothing_but_a_keyboard(page: Page) -> None:
    await open_probe(page)
    for _ in range(80):
        await page.keyboard.press("Tab")
        if await page.evaluate("document.activeElement.textContent") == "Attack":
            break
    await page.keyboard.press("Enter")
    await page.locator(".outcome .verdict-box").wait_for()


async def test_the_theme_that_is_chosen_stays(page: Page) -> None:
    await page.goto("/")
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    light = await page.evaluate(ground)
    button = page.get_by_role("button", name=re.compile("Theme"))
    await button.click()
    await button.click()
    assert await button.get_attribute("aria-label") == "Theme: dark"
    assert await page.evaluate(ground) != light
    await page.reload()
    await page.get_by_role("button", name="Theme: dark").wait_for()
    assert await page.evaluate(ground) != light
