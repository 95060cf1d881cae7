"""Take the pictures of the playground in docs/figures, from a gateway over model_store.

    python scripts/playground_screenshots.py

Needs Chromium and playwright.
"""

from __future__ import annotations

import argparse
import io
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[1]

#: Milliseconds for what a page does.
PATIENCE = 120_000


def probe(page: Page) -> None:
    """An attack that a robust model withstands, and what it makes of the others."""
    page.goto("/")
    page.locator(".answers .headline").first.wait_for()
    page.get_by_role("button", name="Attack", exact=True).click()
    page.locator(".outcome .verdict-box").wait_for()
    page.get_by_role("button", name="Attack the other").click()
    page.locator(".compare table[aria-busy=false]").wait_for()


def defended(page: Page) -> None:
    """An attack on a model with defences at inference."""
    page.goto("/#/?model=atld-cifar10")
    page.locator(".answers .headline").nth(2).wait_for()
    page.get_by_role("button", name="Attack", exact=True).click()
    page.locator(".outcome .verdict-box").wait_for()
    page.locator(".outcome").evaluate("(section) => section.scrollIntoView()")


def campaign(page: Page) -> None:
    """A campaign at several budgets, to its end."""
    page.goto("/#/campaigns/new")
    page.get_by_label("standard-cifar10").check()
    for budget in ("2/255", "4/255", "16/255"):
        page.get_by_role("button", name=budget, exact=True).click()
    page.get_by_label("Name").fill("Before the release")
    page.get_by_role("button", name="Start the campaign").click()
    page.get_by_text("Accuracy against").first.wait_for()
    page.locator(".gallery img, .grid img").first.wait_for()


def model(page: Page) -> None:
    """What a model claims, and what speaks against it."""
    page.goto("/#/models/atld-cifar10")
    page.get_by_role("heading", name="Attack by attack").wait_for()


def monitor(page: Page) -> None:
    """The last minutes, most of them the pictures' own."""
    page.goto("/#/monitor")
    page.locator(".chart svg").first.wait_for()


#: By the file's name: what is shown, width, height (0 for the whole page), and theme.
PICTURES: dict[str, tuple[Callable[[Page], None], int, int, str]] = {
    "playground-probe": (probe, 1400, 0, "light"),
    "playground-probe-phone": (defended, 390, 1500, "dark"),
    "playground-campaign": (campaign, 900, 0, "light"),
    "playground-model": (model, 1280, 1250, "dark"),
    "playground-monitor": (monitor, 1280, 1000, "light"),
}


def main() -> None:
    """Take them all, or those that are named."""
    parser = argparse.ArgumentParser(description="Take the pictures of the playground.")
    parser.add_argument("names", nargs="*", help=f"of {', '.join(PICTURES)}")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "figures")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        url, process = start(Path(scratch))
        try:
            options: dict[str, Any] = {"args": ["--no-sandbox"]} if os.geteuid() == 0 else {}
            browser = playwright.chromium.launch(executable_path=arguments.chromium, **options)
            for name in arguments.names or PICTURES:
                show, width, height, theme = PICTURES[name]
                context = browser.new_context(
                    base_url=url,
                    viewport={"width": width, "height": height or 900},
                    color_scheme="dark" if theme == "dark" else "light",
                    reduced_motion="reduce",
                )
                context.set_default_timeout(PATIENCE)
                page = context.new_page()
                show(page)
                page.wait_for_timeout(1500)
                save(page.screenshot(full_page=not height), arguments.out / f"{name}.png")
                context.close()
            browser.close()
        finally:
            process.terminate()
            process.wait()


def start(scratch: Path) -> tuple[str, subprocess.Popen[bytes]]:
    """A gateway of its own, once it is ready."""
    with socket.socket() as probing:
        probing.bind(("127.0.0.1", 0))
        port = probing.getsockname()[1]
    environment = {
        **os.environ,
        "HOLDFAST_PORT": str(port),
        "HOLDFAST_MODEL_STORE": str(ROOT / "model_store"),
        "HOLDFAST_JOBS_DATABASE": f"sqlite:///{scratch}/jobs.sqlite",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "holdfast", "serve"], env=environment, stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    for _ in range(600):
        try:
            with urllib.request.urlopen(f"{url}/readyz") as response:
                if response.status == 200:
                    return url, process
        except OSError:
            time.sleep(0.1)
    raise SystemExit("The gateway was not ready within a minute.")


def save(png: bytes, path: Path) -> None:
    """Keep a picture in 255 colours: a third of the bytes, and no difference that the eye finds."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    image.quantize(255, dither=Image.Dither.NONE).save(path, optimize=True)
    sys.stdout.write(f"{path} {image.width}x{image.height}, {path.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    main()
