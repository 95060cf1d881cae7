"""docs/results.md says what the cards say, and every one of its commands can be run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from holdfast.bundle import ModelStore
from holdfast.figures import most_robust, robust_figure
from holdfast.manifest import Evaluation
from scripts import outputs
from training.commands.summing import COLUMNS
from training.evaluation.report import WORST
from training.evaluation.tables import find

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
STORE = ModelStore(ROOT / "model_store")
COMMANDS = outputs.commands(PAGE)


def summary() -> dict[tuple[str, str], dict[str, str]]:
    """What is said of each model behind each defence, by the columns' heads."""
    said: dict[tuple[str, str], dict[str, str]] = {}
    for command in COMMANDS:
        if "--summary" not in command:
            continue
        shown = PAGE.partition(command)[2].partition("<!-- end output -->")[0]
        head, _, *rows = (
            line.strip("| ").split(" | ") for line in shown.splitlines() if line.startswith("|")
        )
        for row in rows:
            assert (row[0], row[1]) not in said
            said[row[0], row[1]] = dict(zip(head[2:], row[2:], strict=True))
    return said


def headline(name: str) -> Evaluation:
    """The evaluation of a bundle by all attacks of the headline."""
    (found,) = (each for each in STORE.open(name).manifest.evaluations if "--headline" in each.command)
    return found


def test_the_summary_says_of_each_model_what_its_card_says() -> None:
    names = {shown: name for name, shown in COLUMNS.items()}
    for (name, defence), cells in summary().items():
        found = {each.name: each for each in headline(name).figures if each.defence == defence}
        for column, cell in cells.items():
            figure = found.get(names[column])
            if figure is None:
                assert cell == "–"
                continue
            low, high = figure.interval
            assert cell == f"{100 * figure.accuracy:.1f} ± {50 * (high - low):.1f}", (name, defence, column)


def test_every_model_of_the_store_is_in_a_summary_behind_each_of_its_defences_or_said_to_be_missing() -> None:
    known = [STORE.open(name) for name in STORE.names()]
    offered = {(bundle.name, defence) for bundle in known for defence in bundle.manifest.defences}
    missing = PAGE.partition("## What is missing")[2]
    for name, defence in offered - summary().keys():
        assert f"`{name}`" in missing, (name, defence)
    assert summary().keys() <= offered


@pytest.mark.parametrize("command", COMMANDS)
def test_every_output_is_there_and_names_what_there_is(command: str) -> None:
    shown = PAGE.partition(f"{command} -->")[2].partition("<!-- end output -->")[0].strip()
    assert shown.count("\n|") >= 2, "a table has been written in its place"
    words = shlex.split(command)
    assert words[:2] == ["holdfast", "evaluate"]
    assert "--no-save" in words
    if "--table" in words:
        assert len(find(words[words.index("--table") + 1])) == 1
    else:
        named = [word for word in words[2:] if not word.startswith("-")]
        assert set(STORE.names()) >= {word for word in named if not word.isdecimal() and word != "markdown"}


def test_the_default_model_is_the_one_that_the_page_recommends() -> None:
    chosen = most_robust([STORE.open(name).manifest for name in STORE.names()])
    (recommended,) = re.findall(r"\*\*Serve `([\w-]+)`", PAGE)
    assert chosen.name == recommended
    worst = next(
        each for each in headline(recommended).figures if (each.name, each.defence) == (WORST, "none")
    )
    assert robust_figure(chosen) == worst
