"""A real browser before a real gateway, for tests of the playground."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, Request

#: Opens one more page: its arguments are those of :func:`opened`, all of which may be left out.
NewPage = Callable[..., Awaitable["Page"]]

#: Milliseconds that a page may take for what a test expects of it.
PATIENCE = 30_000

#: Where a page's policy was violated; the console says it too, but not always.
_WATCH_POLICY = """
addEventListener("securitypolicyviolation", (event) =>
  console.error(`${event.effectiveDirective} was violated by ${event.blockedURI} ${event.sample}`));
"""


def missing() -> str:
    """What the tests need and this machine lacks; empty where there is all."""
    if find_spec("playwright") is None or find_spec("axe_playwright_python") is None:
        return "playwright and axe-playwright-python are not installed: pip install -e '.[test]'"
    if not executable():
        return "there is no Chromium: apt-get install chromium, or name one in CHROMIUM"
    return ""


def executable() -> str:
    """The Chromium to drive; empty where there is none."""
    named = os.environ.get("CHROMIUM")
    candidates = (
        [named] if named else ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"]
    )
    return next((found for name in candidates if (found := shutil.which(name))), "")


@asynccontextmanager
async def launched() -> AsyncIterator[Browser]:
    """Start a browser that reaches this machine and nothing else."""
    from playwright.async_api import async_playwright, expect

    expect.set_options(timeout=PATIENCE)
    arguments = [
        "--disable-dev-shm-usage",  # containers have little of it
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        # A camera that shows a moving picture, and is allowed to where a test grants it.
        "--use-fake-device-for-media-stream",
    ]
    if os.geteuid() == 0:
        arguments.append("--no-sandbox")  # Chromium's sandbox refuses root
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=executable(), args=arguments, timeout=4 * PATIENCE
        )
        try:
            yield browser
        finally:
            await browser.close()


class Watch:
    """What goes wrong in a test's pages beside what it looks at: it must be nothing."""

    def __init__(self) -> None:
        self._allowed: list[re.Pattern[str]] = []
        self._problems: list[str] = []
        self.requests: list[Request] = []

    def allow(self, pattern: str) -> None:
        """Take no offence at what matches this, e.g. at the 503 that a test provokes."""
        self._allowed.append(re.compile(pattern))

    def attach(self, context: BrowserContext, origin: str) -> None:
        """Watch every page of a context, which may ask this host and no other."""
        context.on("console", self._note_message)
        context.on("weberror", lambda error: self._problems.append(f"error: {error.error}"))
        context.on("request", lambda request: self._note_request(request, origin))

    def problems(self) -> list[str]:
        """All that went wrong, but for what is allowed."""
        return [text for text in self._problems if not any(each.search(text) for each in self._allowed)]

    def _note_message(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            where = message.location.get("url", "")
            self._problems.append(f"{message.type}: {message.text} ({where})")

    def _note_request(self, request: Request, origin: str) -> None:
        self.requests.append(request)
        if not request.url.startswith((f"{origin}/", "blob:", "data:")):
            self._problems.append(f"request to another host: {request.url}")


@asynccontextmanager
async def opened(browser: Browser, url: str, watch: Watch, **options: Any) -> AsyncIterator[Page]:
    """An empty page in a context of its own, below whose addresses is a gateway's.

    Args:
        browser: The browser.
        url: The gateway's.
        watch: What watches the page.
        options: Of the context: ``color_scheme="dark"``, ``viewport={"width": 360, "height": 740}``,
            ``reduced_motion="reduce"``, ``permissions=["camera"]``, …
    """
    # A page that moves is never still enough to be measured or looked at.
    defaults: dict[str, Any] = {
        "base_url": url,
        "viewport": {"width": 1280, "height": 900},
        "reduced_motion": "reduce",
    }
    context = await browser.new_context(**{**defaults, **options})
    context.set_default_timeout(PATIENCE)
    await context.add_init_script(_WATCH_POLICY)
    watch.attach(context, url)
    try:
        yield await context.new_page()
    finally:
        await context.close()


async def violations(page: Page, *, within: str | None = None) -> list[str]:
    """What axe finds wrong with a page as it is now by WCAG 2.2 AA and good practice, with the elements.

    Args:
        page: The page.
        within: A CSS selector of the only part to look at.
    """
    import axe_playwright_python

    script = Path(axe_playwright_python.__file__).with_name("axe.min.js").read_text(encoding="utf-8")
    await page.evaluate(script)
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    results = await page.evaluate(
        "([within, tags]) => axe.run(within ?? document, {runOnly: tags, resultTypes: ['violations']})",
        [within, tags],
    )
    return [
        f"{found['id']} ({found['impact']}): {found['help']}: {node['target']} {node['html'][:160]} "
        f"{node.get('failureSummary', '')}"
        for found in results["violations"]
        for node in found["nodes"]
    ]
