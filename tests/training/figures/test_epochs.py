"""``holdfast figures epochs``: what runs logged, and what a run without a log is told."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from holdfast.errors import UsageError
from holdfast.interval import wilson
from training import data, distributed, recipe
from training.checkpoint import latest, read_info
from training.commands.figures import app
from training.figures.epochs import read
from training.trainer import Trainer


class Silent:
    def started(self, *arguments: Any) -> None: ...
    def stepped(self, *arguments: Any) -> None: ...
    def epoch_ended(self, *arguments: Any) -> None: ...
    def saved(self, *arguments: Any) -> None: ...


def train(directory: Path, *overrides: str) -> Path:
    """A run of two epochs, with 40 images measured after each."""
    few = ["epochs=2", "batch_size=512", "monitor.images=40", "monitor.steps=2"]
    plan = recipe.load("pgd-at-digits", [*few, "method.steps=1", *overrides])
    world = distributed.join("cpu")
    try:
        Trainer(plan, data.load("digits"), directory, world, Silent()).run()
    finally:
        distributed.leave()
    return directory


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    drops = "schedule={kind: step, milestones: [1]}"
    return train(tmp_path_factory.mktemp("runs") / "mine", drops)


def test_the_points_are_what_the_run_measured_after_each_epoch(run: Path) -> None:
    found = read(run)
    newest = latest(run)
    assert newest is not None
    history = read_info(newest).history
    assert [entry.epoch for entry in found.epochs] == [1, 2]
    for entry, logged in zip(found.epochs, history, strict=True):
        assert entry.clean == (logged["clean"], *wilson(round(40 * logged["clean"]), 40))
        assert entry.robust == (logged["pgd2"], *wilson(round(40 * logged["pgd2"]), 40))
        assert entry.loss == logged["loss"]
    assert (found.name, found.method, found.images, found.drops) == ("mine", "pgd-at", 40, [1])
    assert read(newest) == found, "a checkpoint is the run that it is of"


def test_picture_and_numbers_are_written(run: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["epochs", str(run), "--out", str(tmp_path)], catch_exceptions=False)
    assert result.exit_code == 0
    content = json.loads((tmp_path / "epochs.json").read_text(encoding="utf-8"))
    with (tmp_path / "epochs.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    (only,) = content["runs"]
    assert [float(row["robust"]) for row in rows] == [entry["robust"][0] for entry in only["epochs"]]
    assert np.asarray(Image.open(tmp_path / "epochs.png").convert("L")).std() > 10
    assert "<svg" in (tmp_path / "epochs.svg").read_text(encoding="utf-8")


def test_a_run_without_an_attack_has_a_clean_curve_only(tmp_path: Path) -> None:
    directory = train(tmp_path / "run", "epochs=1", "monitor.steps=0")
    assert [entry.robust for entry in read(directory).epochs] == [None]
    result = CliRunner().invoke(
        app, ["epochs", str(directory), "--out", str(tmp_path / "out")], catch_exceptions=False
    )
    assert result.exit_code == 0
    assert ",,,," in (tmp_path / "out" / "epochs.csv").read_text(encoding="utf-8").splitlines()[1]


def test_a_run_that_logged_nothing_is_told_so(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no checkpoint in it"):
        read(tmp_path)
    with pytest.raises(UsageError, match="measured no accuracy") as refused:
        read(train(tmp_path / "unwatched", "epochs=1", "monitor.images=0"))
    assert "monitor.images" in refused.value.hint


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"history": []}, "not finished an epoch"),
        ({"recipe": {"name": "of another time"}}, "another Holdfast"),
    ],
)
def test_a_state_that_cannot_be_drawn_is_refused(
    run: Path, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    newest = latest(run)
    assert newest is not None
    state = json.loads((newest / "state.json").read_text(encoding="utf-8"))
    (tmp_path / "state.json").write_text(json.dumps(state | change), encoding="utf-8")
    with pytest.raises(UsageError, match=said):
        read(tmp_path)
