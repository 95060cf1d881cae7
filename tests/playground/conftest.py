"""Fixtures of the playground's tests: one gateway and one browser for all of them, a new page for each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.browser import NewPage, Watch, launched, missing, opened
from support.gateway_process import GatewayProcess, gateway_process

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Browser tests run on asyncio, as Playwright does."""
    return "asyncio"


@pytest.fixture(scope="session")
async def browser(anyio_backend: str) -> AsyncIterator[Browser]:
    """The browser; tests that need one are skipped where it cannot be had."""
    if reason := missing():
        pytest.skip(reason)
    async with launched() as started:
        yield started


@pytest.fixture(scope="session")
def playground(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a gateway over the shipped models, with a worker for jobs."""
    jobs = tmp_path_factory.mktemp("jobs") / "jobs.sqlite"
    with gateway_process(ROOT / "model_store", HOLDFAST_JOBS_DATABASE=f"sqlite:///{jobs}") as process:
        yield process.url


@pytest.fixture
def tiny_process(browser: Browser, tiny_store: Path, tmp_path: Path) -> Iterator[GatewayProcess]:
    """A gateway over the tiny bundle that a test may stop and start again."""
    jobs = f"sqlite:///{tmp_path}/jobs.sqlite"
    with gateway_process(tiny_store, HOLDFAST_JOBS_DATABASE=jobs, HOLDFAST_JOBS_WORKERS="0") as process:
        yield process


@pytest.fixture
def watch() -> Iterator[Watch]:
    """What watches the pages of a test, and fails it if anything goes wrong there unseen."""
    started = Watch()
    yield started
    assert started.problems() == []


@pytest.fixture
async def new_page(browser: Browser, playground: str, watch: Watch) -> AsyncIterator[NewPage]:
    """Opens pages, each in a context of its own."""
    async with AsyncExitStack() as stack:

        async def open_another(url: str = playground, **options: Any) -> Page:
            return await stack.enter_async_context(opened(browser, url, watch, **options))

        yield open_another


@pytest.fixture
async def page(new_page: NewPage) -> Page:
    """An empty page: ``await page.goto("/#/models")`` leads it to the playground."""
    return await new_page()
