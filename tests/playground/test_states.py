"""What the playground shows when all is not well: no server, no key, a key that is not for this."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.browser import NewPage, Watch
from support.gateway_process import GatewayProcess, running_gateway
from support.tiny import solid_png

from serving.keys.store import KeyStore

if TYPE_CHECKING:
    from playwright.async_api import Page

pytestmark = [pytest.mark.anyio, pytest.mark.browser]

RED = {"name": "red.png", "mimeType": "image/png", "buffer": solid_png((255, 0, 0))}
GREEN = {"name": "green.png", "mimeType": "image/png", "buffer": solid_png((0, 255, 0))}


async def choose(page: Page, file: dict[str, Any]) -> None:
    await page.get_by_label("Image file").set_input_files(file)


async def test_a_server_that_goes_away_is_waited_for_and_nothing_chosen_is_lost(
    new_page: NewPage, tiny_process: GatewayProcess, watch: Watch
) -> None:
    watch.allow("ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE|status of 503")
    page = await new_page(tiny_process.url)
    await page.goto("/")
    await choose(page, RED)
    await page.locator(".answers .headline").wait_for()
    tiny_process.stop()
    await choose(page, GREEN)
    await page.locator(".answers .note.bad", has_text="The server does not answer").wait_for()
    await page.locator(".banner").wait_for()
    await page.get_by_role("button", name="Attack", exact=True).click()
    await page.locator(".form .note.bad").wait_for()
    tiny_process.start()
    await page.locator(".banner").wait_for(state="detached")
    await page.get_by_text("green.png", exact=True).wait_for()
    await page.locator(".answers").get_by_role("button", name="Try again").click()
    await page.locator(".answers .headline").wait_for()


@pytest.fixture
def keyed(browser: Any, tiny_store: Path, tmp_path: Path) -> Iterator[tuple[str, str, str]]:
    """A gateway that asks for keys; its URL, a key to classify, and one to attack too."""
    store = KeyStore(tmp_path / "keys.json")
    classify, _ = store.create("classifies", ("classify",))
    attack, _ = store.create("attacks", ("classify", "attack"))
    jobs = f"sqlite:///{tmp_path}/jobs.sqlite"
    with running_gateway(
        tiny_store, HOLDFAST_KEYS_FILE=str(tmp_path / "keys.json"), HOLDFAST_JOBS_DATABASE=jobs
    ) as url:
        yield url, classify.reveal(), attack.reveal()


async def test_a_key_is_asked_for_where_one_is_needed_and_kept_in_the_tab_only(
    new_page: NewPage, keyed: tuple[str, str, str], watch: Watch
) -> None:
    watch.allow("status of 40[13]")
    url, classify, attack = keyed
    page = await new_page(url)
    await page.goto("/")
    await page.get_by_role("button", name="Enter a key").click()
    await page.get_by_role("textbox", name="Key").fill("holdfast_nonsense")
    await page.get_by_role("button", name="Use it").click()
    await page.get_by_text("This key is not valid").wait_for()
    await page.get_by_role("button", name="Enter a key").click()
    await page.get_by_role("textbox", name="Key").fill(classify)
    await page.get_by_role("button", name="Use it").click()
    await choose(page, RED)
    await page.locator(".answers .headline").wait_for()
    await page.get_by_role("button", name="Attack", exact=True).click()
    note = page.locator(".form .note.bad")
    await note.wait_for()
    assert "attack" in await note.inner_text()
    await note.get_by_role("button", name="Enter a key").click()
    await page.get_by_role("textbox", name="Key").fill(attack)
    await page.get_by_role("button", name="Use it").click()
    await page.get_by_role("button", name="Attack", exact=True).click()
    await page.locator(".outcome .verdict-box").wait_for()
    kept = await page.evaluate("[JSON.stringify(localStorage), location.href, document.cookie].join()")
    assert attack.split("_")[-1] not in kept
