"""What the playground tells of models: the manifests' figures and no others, with the doubts beside them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.browser import Watch, opened, violations
from support.page_scripts import imported

from holdfast.bundle import read_manifest
from holdfast.figures import clean_figure, robust_figure
from holdfast.manifest import Figure, Manifest

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page, Route

pytestmark = [pytest.mark.anyio, pytest.mark.browser]

STORE = Path(__file__).parents[2] / "model_store"
MANIFESTS = [read_manifest(path.parent) for path in sorted(STORE.glob("*/*/bundle.json"))]
ATLD = "atld-cifar10"


def percent(share: float) -> str:
    """As the page writes it."""
    return f"{100 * share:.1f} %"


def manifest_of(name: str) -> Manifest:
    """The manifest of a shipped model."""
    return next(each for each in MANIFESTS if each.name == name)


def worst(manifest: Manifest, defence: str) -> Figure:
    """The lowest figure under attack behind a defence; each was attacked in one evaluation."""
    figures = [each for one in manifest.evaluations for each in one.figures if each.defence == defence]
    return min((each for each in figures if each.attack), key=lambda each: each.accuracy)


@pytest.fixture(scope="module")
async def page(browser: Browser, playground: str) -> AsyncIterator[Page]:
    """One page for all tests: where they lead it is below the same document."""
    watch = Watch()
    watch.allow("404|ERR_FAILED")  # a model that is not there, a request that is lost
    async with opened(browser, playground, watch) as page:
        await page.goto("/#/models")
        yield page
    assert watch.problems() == []


async def test_the_list_has_each_models_figures_and_doubts(page: Page) -> None:
    await page.goto("/#/models")
    assert len(MANIFESTS) >= 4
    for manifest in MANIFESTS:
        clean, robust = clean_figure(manifest), robust_figure(manifest)
        assert clean is not None
        assert robust is not None
        entry = page.get_by_role("article", name=manifest.name)
        row = entry.locator(".claim-row").first
        await row.wait_for()
        said = await row.inner_text()
        assert percent(clean.accuracy) in said
        assert f"{percent(robust.accuracy)} under" in said
        low, high = robust.interval
        assert f"{100 * low:.1f} to {percent(high)}, {robust.images:,} images" in said
        doubts = [each.unreliable for each in manifest.evaluations if each.unreliable]
        note = entry.get_by_text("Do not rely on the robust figures")
        assert await note.count() == (1 if doubts else 0)
        assert await entry.locator(".claim-row").count() == len(manifest.defences)


async def test_a_model_never_claims_more_than_its_worst_case(page: Page) -> None:
    manifest = manifest_of(ATLD)
    await page.goto(f"/#/models/{ATLD}")
    claims = page.locator(".claim")
    await claims.first.wait_for()
    assert await claims.count() == len(manifest.defences)
    for i, defence in enumerate(manifest.defences):
        said = await claims.nth(i).locator(".robust").inner_text()
        assert percent(worst(manifest, defence).accuracy) in said
    doubts = await page.locator(".doubts").inner_text()
    [unreliable] = [each.unreliable for each in manifest.evaluations if each.unreliable]
    for reason in unreliable.split("; "):
        assert reason in doubts
    assert "Less holds with a defence than without" in doubts


async def test_every_figure_is_there_with_its_command(page: Page) -> None:
    manifest = manifest_of(ATLD)
    evaluations = sorted(manifest.evaluations, key=lambda each: each.date, reverse=True)
    evaluation = next(each for each in evaluations if any(figure.attack for figure in each.figures))
    await page.goto(f"/#/models/{ATLD}")
    table = page.locator("table.dots")
    await table.wait_for()
    for name in {figure.name for figure in evaluation.figures}:
        # What holds behind every defence is below, in the list of all that was measured.
        found = [each for each in evaluation.figures if each.name == name and each.defence != "all"]
        base = "none: clean" if name == "clean" else name.split(",")[0]
        rows = table.locator("tbody tr").filter(has=page.locator("th", has_text=base))
        rows = (
            rows.filter(has_text="does not know")
            if "," in name
            else rows.filter(has_not_text="does not know")
        )
        said = await rows.inner_text()
        assert [figure for figure in found if percent(figure.accuracy) not in said] == []
    assert await page.locator(".evaluation").count() == len(evaluations)
    for place, evaluation in enumerate(evaluations):
        shown = page.locator(".evaluation").nth(place)
        await shown.locator("summary").first.click()
        assert await shown.locator("tbody tr").count() == len(evaluation.figures)
        await shown.get_by_text("Measure it again").click()
        assert await shown.locator("pre").inner_text() == evaluation.command


async def test_the_card_is_read_and_leads_on(page: Page) -> None:
    await page.goto(f"/#/models/{ATLD}/1")
    await page.get_by_text("Read the card").click()
    card = page.locator(".prose")
    assert await card.get_by_role("heading", level=3).inner_text() == f"{ATLD}, version 1"
    digest = manifest_of(ATLD).files["predict.onnx"].sha256
    assert await card.get_by_text(digest).is_visible()
    text = (STORE / ATLD / "1" / "CARD.md").read_text(encoding="utf-8")
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert await card.locator("h3, h4, h5").count() == len(headings)
    await page.get_by_role("link", name="Probe it").click()
    assert await page.get_by_label("Model", exact=True).input_value() == ATLD


HOSTILE = """# <script>alert(1)</script>

[run](javascript:alert(1)) [data](data:text/html,x) [near](/v1/admin/reload) [far](https://example.org/a?b=c)
<img src=x onerror=alert(1)> ![picture](https://example.org/x.png) <https://example.org> <javascript:alert(1)>
[part](#script-alert1-script)

| a | b |
|---|--:|
| <b>1</b> | `x \\| y` |
"""


async def test_a_cards_markup_stays_text_and_its_links_lead_to_the_web_alone(page: Page) -> None:
    script = """
      const { html, render } = await from("dom.js");
      const { Markdown } = await from("markdown.js");
      const place = document.createElement("div");
      render(html`<${Markdown} text=${given} level=${3} />`, place);
      const all = [...place.querySelectorAll("*")];
      return {
        tags: [...new Set(all.map((each) => each.localName))].sort().join(" "),
        links: [...place.querySelectorAll("a")].map((each) => each.getAttribute("href")),
        handlers: all.flatMap((each) => each.getAttributeNames()).filter((name) => name.startsWith("on")),
        text: place.textContent,
      };
    """
    await page.goto("/#/models")
    found = await imported(page, script, HOSTILE)
    assert found["tags"] == "a code div h3 p span table tbody td th thead tr"
    assert found["links"] == ["https://example.org/a?b=c", "https://example.org", "#/models"]
    assert found["handlers"] == []
    for shown in (
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "<b>1</b>",
        "x | y",
        "run",
        "picture",
    ):
        assert shown in found["text"]


async def test_markdown_becomes_what_it_says(page: Page) -> None:
    text = (
        "## Title ##\n\ntwo\nlines, **bold _and_ `code`**, snake_case_name, 2 * 3 * 4\n\n"
        "- a\n- b\n  1. c\n  2. d\n\n> quoted\n\n```yaml\n# no heading\n```\n\n    indented\n\n---\nend"
    )
    script = """
      const { html, render } = await from("dom.js");
      const { Markdown } = await from("markdown.js");
      const place = document.createElement("div");
      render(html`<${Markdown} text=${given} />`, place);
      for (const each of place.querySelectorAll("[tabindex]")) each.removeAttribute("tabindex");
      return place.innerHTML;
    """
    assert await imported(page, script, text) == (
        '<h2 id="md-title">Title</h2>'
        "<p>two\nlines, <strong>bold <em>and</em> <code>code</code></strong>, snake_case_name, 2 * 3 * 4</p>"
        '<ul><li>a</li><li><p>b</p><ol start="1"><li>c</li><li>d</li></ol></li></ul>'
        "<blockquote><p>quoted</p></blockquote>"
        "<pre><code># no heading</code></pre><pre><code>indented</code></pre><hr><p>end</p>"
    )


async def test_deep_and_long_markdown_is_drawn_soon(page: Page) -> None:
    script = """
      const { html, render } = await from("dom.js");
      const { Markdown } = await from("markdown.js");
      const begin = performance.now();
      for (const text of given) render(html`<${Markdown} text=${text} />`, document.createElement("div"));
      return performance.now() - begin;
    """
    texts = ["> " * 20_000, "- " * 20_000, "`" * 50_000, "**a" * 20_000, "[" * 50_000, "|" * 20_000 + "\n|-|"]
    assert await imported(page, script, texts) < 10_000


async def test_figures_at_several_budgets_and_steps_are_curves(page: Page) -> None:
    script = """
      const { plots } = await from("pages/models/series.js");
      const at = (name, accuracy, epsilon, more = {}) => ({
        name, accuracy, attack: name, defence: "none", adaptive: true, interval: [accuracy, accuracy],
        threat_model: { norm: "linf", epsilon: epsilon / 255 }, parameters: { steps: 20 }, ...more,
      });
      const clean = { ...at("clean", 0.9, 0), attack: null, threat_model: null, parameters: {} };
      const figures = [
        clean, { ...clean, accuracy: 0.8, defence: "imt" },
        at("pgd-20,epsilon=4/255", 0.6, 4), at("pgd-20", 0.3, 8),
        at("pgd-20", 0.2, 8, { defence: "imt" }), at("pgd-20,epsilon=4/255", 0.5, 4, { defence: "imt" }),
        at("pgd-20,from=none", 0.4, 8, { defence: "imt", adaptive: false }),
        at("pgd-20,epsilon=4/255,from=none", 0.7, 4, { defence: "imt", adaptive: false }),
        at("cw-50", 0.3, 8, { parameters: { steps: 50 } }), at("cw-20", 0.35, 8), at("worst case", 0.1, 8),
      ];
      const model = { defences: ["none", "imt"], threat_model: { norm: "linf", epsilon: 8 / 255 },
        evaluations: [{ dataset: "d", seed: 0, figures }] };
      const line = ({ name, dashed, points }) => [name, dashed, points];
      return plots(model).map(({ title, series }) => [title, series.map(line)]);
    """
    assert await imported(page, script) == [
        [
            "Accuracy against the budget: pgd-20",
            [
                ["No defence", False, [[0, 0.9], [4, 0.6], [8, 0.3]]],
                ["IMT", False, [[0, 0.8], [4, 0.5], [8, 0.2]]],
                ["IMT, does not know the defence", True, [[0, 0.8], [4, 0.7], [8, 0.4]]],
            ],
        ],
        ["Accuracy against the attack's steps: cw", [["No defence", False, [[20, 0.35], [50, 0.3]]]]],
    ]


async def test_versions_are_shown_with_their_shares_of_the_traffic(page: Page) -> None:
    async def with_a_canary(route: Route) -> None:
        response = await route.fetch()
        content = await response.json()
        for each in content["models"]:
            each |= {"versions": ["1", "2"], "latest": "2", "shares": {"1": 0.95, "2": 0.05}}
        await route.fulfill(response=response, body=json.dumps(content))

    await page.goto("/#/monitor")
    await page.route("**/v1/models", with_a_canary)
    await page.goto(f"/#/models/{ATLD}")
    versions = page.get_by_role("region", name="Versions and their traffic")
    assert "A canary is under way" in await versions.inner_text()
    rows = versions.locator("tbody tr")
    assert [await row.locator(".value").inner_text() for row in await rows.all()] == ["5.0 %", "95.0 %"]
    assert await rows.first.get_by_role("link").get_attribute("href") == f"#/models/{ATLD}/2"
    await page.unroute("**/v1/models")


async def test_a_version_that_is_named_is_the_one_that_is_probed_and_asked_for(page: Page) -> None:
    async with page.expect_request(f"**/v1/models/{ATLD}/versions/1/classify*"):
        await page.goto(f"/#/?model={ATLD}&version=1")
    assert await page.get_by_text("Version 1.").is_visible()
    script = """
      const { curl, sdk } = await from("snippets.js");
      const image = { name: "a.png", blob: { type: "image/png" } };
      const request = { model: "m", version: "2", attack: "pgd", parameters: {} };
      const context = { image, address: "http://here" };
      return [curl(request, context), sdk(request, context)];
    """
    command, program = await imported(page, script)
    assert "'http://here/v1/models/m/versions/2/attack?attack=pgd'" in command
    assert 'model="m", version="2"' in program


async def test_a_request_that_was_lost_is_made_again(page: Page) -> None:
    await page.goto("/#/monitor")
    await page.route("**/v1/models", lambda route: route.abort())
    await page.goto("/#/models")
    await page.get_by_role("alert").get_by_text("The server does not answer").wait_for()
    await page.unroute("**/v1/models")
    await page.locator(".claim-row").first.wait_for()


async def test_a_model_that_is_not_there_is_said_to_be(page: Page) -> None:
    await page.goto("/#/models/nobody")
    await page.get_by_role("alert").wait_for()
    assert "nobody" in await page.get_by_role("alert").inner_text()


async def test_models_are_accessible_and_fit(page: Page) -> None:
    await page.goto("/#/models")
    await page.locator(".claim-row").nth(len(MANIFESTS) - 1).wait_for()
    assert await violations(page) == []
    await page.emulate_media(color_scheme="dark")
    for width in (1600, 1250, 1000, 830, 640, 360):
        await page.set_viewport_size({"width": width, "height": 800})
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
    await page.goto(f"/#/models/{ATLD}")
    await page.get_by_text("Read the card").click()
    await page.locator(".evaluation summary").first.click()
    assert await violations(page) == []
    assert await page.evaluate("document.documentElement.scrollWidth") <= 360
