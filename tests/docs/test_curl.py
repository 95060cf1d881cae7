"""Every block of commands with curl in it, in every page, answers on a live gateway as the page shows."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest
from support.transcripts.fitting import MismatchError
from support.transcripts.markdown import Block, Step, blocks_of
from support.transcripts.requests import asked_for
from support.transcripts.workshop import ROOT, Workshop, open_workshop

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")

#: How many blocks with curl each page has, and how often they call it. Who adds one counts it here.
PAGES = {
    "README.md": (3, 3),
    "docs/attack-on-demand.md": (6, 8),
    "docs/curl.md": (33, 66),
    "docs/jobs.md": (6, 7),
    "docs/model-versions.md": (3, 7),
    "docs/open-inference-protocol.md": (4, 5),
    "docs/operations.md": (3, 5),
}

#: Blocks without curl that those with it build on, by what they begin with.
BEFORE = ("make serve", "HOLDFAST_DATASETS=sets ", "export HOLDFAST_KEYS_FILE=")

FOLDERS = ("docs", "examples", "clients", "deploy", "loadtests", "benchmarks")


def pages() -> list[str]:
    """The pages that a reader may find commands in, but for models' cards."""
    found = [*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))]
    return sorted(str(page.relative_to(ROOT)) for page in found)


CARDS = sorted(str(card.relative_to(ROOT)) for card in ROOT.glob("model_store/*/*/CARD.md"))


def with_curl(page: str) -> list[Block]:
    return [block for block in blocks_of(ROOT / page) if block.asks]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    with open_workshop(tmp_path_factory.mktemp("pages")) as opened:
        yield opened


def test_every_block_is_known() -> None:
    found = {page: with_curl(page) for page in pages()}
    assert {
        page: (len(blocks), sum(block.asks for block in blocks)) for page, blocks in found.items() if blocks
    } == PAGES
    assert CARDS
    for card in CARDS:
        assert [block.asks for block in with_curl(card)] == [1]


@pytest.mark.parametrize("page", [*PAGES, *CARDS])
def test_commands_answer_as_the_page_shows(page: str, workshop: Workshop) -> None:
    terminal = workshop.terminal()
    try:
        for block in blocks_of(ROOT / page):
            if block.asks or block.steps[0].command.startswith(BEFORE):
                terminal.play(block)
    finally:
        workshop.tidy()


def test_every_address_of_the_gateway_has_its_command(workshop: Workshop) -> None:
    description = httpx.get(f"http://{workshop.url}/openapi.json").json()["paths"]
    operations = {(method.upper(), path) for path, methods in description.items() for method in methods}
    asked = {
        request for block in with_curl("docs/curl.md") for step in block.steps for request in asked_for(step)
    }
    missing = {
        (method, path)
        for method, path in operations
        if not any(method == one and re.fullmatch(_pattern(path), address) for one, address in asked)
    }
    assert len(operations) > 30
    assert not missing


def _pattern(path: str) -> str:
    return re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path))


# That it can fail


def step(command: str) -> Step:
    """The step of docs/curl.md whose command has these words."""
    found = [each for block in with_curl("docs/curl.md") for each in block.steps if command in each.command]
    return found[0]


def test_answer_that_is_as_shown_fits(workshop: Workshop) -> None:
    workshop.terminal().check(step("ship.png \\\n"))


@pytest.mark.parametrize(
    ("word", "wrong", "complaint"),
    [
        ('"class_index":8', '"class":8', r"predictions\[0\]: \['class'\] shown, and not there"),
        ('"version":"1",', "", r"\['version'\] there, and not shown"),
        ('"label":"ship"', '"label":"plane"', "'ship' where 'plane' is shown"),
        ('"probability":0.929645', '"probability":0.83', "0.929645 where 0.83 is shown"),
        ('"probability":0.929645', '"probability":"high"', "where a text is shown"),
        ('{"label":"airplane",', '{…},{"label":"airplane",', "2 elements where 3 are shown"),
        ('"timings":{', '"timings":[…],"times":{', r"\['times'\] shown"),
    ],
)
def test_answer_that_is_not_as_shown_is_noticed(
    word: str, wrong: str, complaint: str, workshop: Workshop
) -> None:
    true = step("ship.png \\\n")
    assert word in true.shown
    with pytest.raises(MismatchError, match=complaint):
        workshop.terminal().check(replace(true, shown=true.shown.replace(word, wrong)))


@pytest.mark.parametrize(
    ("command", "there", "gone"),
    [
        ("/livez", "/livez", "/lives"),
        ("-D - ", "/attack?", "/attacked?"),
        ("-w '%{http_code} %{content_type}\\n'", "models/nobody", "models/pgd-at-cifar10"),
        ("--fail-with-body", "models/nobody", "models/pgd-at-cifar10"),
    ],
)
def test_address_that_is_gone_is_noticed(command: str, there: str, gone: str, workshop: Workshop) -> None:
    true = step(command)
    assert there in true.command
    with pytest.raises(MismatchError):
        workshop.terminal().check(replace(true, command=true.command.replace(there, gone)))


def test_command_without_output_must_succeed(workshop: Workshop) -> None:
    terminal = workshop.terminal()
    address = "http://127.0.0.1:8000/v1/models"
    terminal.check(Step(f"curl -s {address}", "", 1))
    with pytest.raises(MismatchError, match="ended with 0"):
        terminal.check(Step(f"curl -s {address}/nobody", "", 1))
    with pytest.raises(MismatchError, match="ended with 22"):
        terminal.check(Step(f"curl -sf {address}/nobody", "", 1))
