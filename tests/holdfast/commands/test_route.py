"""`holdfast route`: what answers where no version is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.cli import invoke
from support.tiny import make_tiny_bundle


@pytest.fixture
def store(tmp_path: Path) -> Path:
    for version in ("1", "2"):
        make_tiny_bundle(tmp_path, version=version)
    return tmp_path


def route(capsys: pytest.CaptureFixture[str], store: Path, *arguments: str) -> Any:
    outcome = invoke(capsys, "route", "tiny", *arguments, "--store", store, "--json")
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


def test_newest_version_answers_at_first(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert route(capsys, store)["shares"] == {"1": 0, "2": 1}


def test_canary_default_and_rollback(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert route(capsys, store, "--to", "1=95", "--to", "2=5")["shares"] == {"1": 0.95, "2": 0.05}
    assert route(capsys, store, "--to", "1")["shares"] == {"1": 1, "2": 0}
    assert route(capsys, store, "--rollback")["shares"] == {"1": 0.95, "2": 0.05}
    assert route(capsys, store, "--newest")["shares"] == {"1": 0, "2": 1}


def test_shares_are_a_table_for_people(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = invoke(capsys, "route", "tiny", "--to", "1=3", "--to", "2=1", "--store", store).out
    assert [line.split() for line in out.splitlines()[-2:]] == [["1", "75.0", "%"], ["2", "25.0", "%"]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "two"], "'two' is no version"),
        (["--to", "1=x"], "'1=x' is no version"),
        (["--to", "1", "--to", "1=5"], "named twice"),
        (["--to", "1", "--rollback"], "one of"),
        (["--to", "7"], "no version 7"),
    ],
)
def test_what_cannot_be_is_refused_in_words(
    store: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    outcome = invoke(capsys, "route", "tiny", *arguments, "--store", store)
    assert outcome.code != 0
    assert message in outcome.err
