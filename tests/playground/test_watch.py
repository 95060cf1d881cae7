"""What the playground's tests rely on: nothing that goes wrong in a page is overlooked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.browser import Watch, violations

if TYPE_CHECKING:
    from playwright.async_api import Page

pytestmark = [pytest.mark.anyio, pytest.mark.browser]

FAULTS = {
    "error: said aloud": "() => console.error('said aloud')",
    "thrown": "() => setTimeout(() => { throw new Error('thrown'); })",
    "rejected": "() => { Promise.reject(new Error('rejected')); }",
    "connect-src was violated": "() => { fetch('http://127.0.0.2:9/').catch(() => null); }",
    "404": "() => { fetch('/nowhere'); }",
}


@pytest.fixture
async def opened(page: Page) -> Page:
    await page.goto("/")
    await page.wait_for_load_state("networkidle")
    return page


async def test_every_fault_is_seen_and_only_those_that_are_expected_are_let_pass(
    opened: Page, watch: Watch
) -> None:
    assert watch.problems() == []
    for fault, script in FAULTS.items():
        await opened.evaluate(script)
        for _ in range(200):
            if any(fault in problem for problem in watch.problems()):
                break
            await opened.wait_for_timeout(50)
        else:
            pytest.fail(f"{fault!r} was not seen among {watch.problems()}")
    watch.allow("said aloud|thrown|rejected")
    assert watch.problems()
    watch.allow("connect-src|Content Security Policy|127.0.0.2")
    watch.allow(r"404 \(Not Found\)")
    assert watch.problems() == []


async def test_markup_made_from_a_string_is_refused(opened: Page, watch: Watch) -> None:
    watch.allow("require-trusted-types-for|TrustedHTML")
    refused = await opened.evaluate(
        "() => { try { document.body.innerHTML = '<b>x</b>'; } catch (error) { return String(error); } }"
    )
    assert "TrustedHTML" in str(refused)


async def test_inline_script_is_not_run(opened: Page, watch: Watch) -> None:
    watch.allow("script-src|inline script|TrustedScript|require-trusted-types-for")
    ran = await opened.evaluate(
        """() => {
          const script = document.createElement("script");
          script.append("window.ran = true");
          document.head.append(script);
          return window.ran === true;
        }"""
    )
    assert not ran


async def test_what_is_not_accessible_is_found(opened: Page) -> None:
    await opened.evaluate(
        "() => { const image = document.createElement('img'); image.src = 'data:,'; "
        "image.id = 'mute'; document.querySelector('main').append(image); }"
    )
    found = await violations(opened, within="main")
    assert any(each.startswith("image-alt") and "mute" in each for each in found)
