"""Models from their recipes to the store, and once more after an interrupt."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from holdfast.bundle import Bundle
from scripts import models


def test_a_recipe_becomes_a_bundle_with_figures_and_a_second_time_nothing_is_done_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, store = tmp_path / "runs", tmp_path / "store"
    line = ["standard-digits", "--set", "epochs=1", "--images", "3", "--precision", "float32"]
    line += ["--runs", str(runs), "--store", str(store)]
    assert models.main(line) == 0
    bundle = Bundle.open(store / "standard-digits" / "1")
    named = [{figure.name for figure in each.figures} for each in bundle.manifest.evaluations]
    assert named[0] == {"clean"}
    assert {"autoattack", "rays-2000", "worst case"} <= named[1]
    asked: list[str] = []

    def ask(words: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        asked.append(words[3])
        return subprocess.CompletedProcess(words, 0)

    monkeypatch.setattr("scripts.models.subprocess.run", ask)
    assert models.main(line) == 0
    assert asked == ["train", "evaluate", "evaluate"], "what is exported is not exported again"


def test_what_cannot_be_trained_ends_it(tmp_path: Path) -> None:
    line = ["no-such-recipe", "--runs", str(tmp_path), "--store", str(tmp_path / "store")]
    assert models.main(line) == 2
    assert not list(tmp_path.iterdir())
