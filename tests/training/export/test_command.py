"""``holdfast export``, as a person uses it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from support.cli import invoke

from holdfast.bundle import MANIFEST, Bundle
from training import recipe
from training.checkpoint import CheckpointInfo
from training.data import load as load_data
from training.distributed import World
from training.export import Facts
from training.trainer import Trainer


class _Nobody:
    def started(self, info: CheckpointInfo, steps_per_epoch: int) -> None: ...

    def stepped(self, step: int, loss: float, learning_rate: float, images_per_second: float) -> None: ...

    def epoch_ended(self, epoch: int, step: int, measured: dict[str, float]) -> None: ...

    def saved(self, path: Path) -> None: ...


def _trainer(directory: Path, dataset: str = "digits") -> Trainer:
    changes = ["epochs=2", "monitor.images=0", f"dataset.name={dataset}", "method.steps=1"]
    plan = recipe.load("pgd-at-digits", changes)
    world = World(0, 1, torch.device("cpu"))
    done = iter([False, False, True])
    return Trainer(plan, load_data(dataset), directory, world, _Nobody(), stop=lambda: next(done))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped after three steps."""
    directory = tmp_path_factory.mktemp("run")
    _trainer(directory).run()
    return directory


def test_a_run_is_exported_and_says_what_to_do_next(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = invoke(capsys, "export", run, "--name", "mine", "--store", tmp_path, "--description", "A try.")
    assert outcome.code == 0, outcome.err
    bundle = Bundle.open(tmp_path / "mine" / "1")
    manifest = bundle.manifest
    assert manifest.description == "A try."
    assert (manifest.method, manifest.dataset.name, manifest.dataset.train_images) == (
        "pgd-at",
        "digits",
        1438,
    )
    assert (manifest.training.steps, manifest.training.seed) == (3, 0)
    assert 0 < manifest.training.epochs < 1
    assert manifest.training.images_per_second > 0
    assert manifest.threat_model.epsilon == 0.15
    assert manifest.recipe["method"]["steps"] == 1
    assert f"Exported {bundle.root}" in outcome.out
    assert "holdfast evaluate mine/1" in outcome.out
    assert "the run is not finished: epoch 0 of 2" in outcome.err
    assert "13 of 13 steps (100%)" in outcome.err

    again = invoke(capsys, "export", run, "--name", "mine", "--version", "1", "--store", tmp_path)
    assert again.code == 2
    assert "already" in again.err
    assert "--force" in again.err


def test_the_next_version_is_the_one_after_the_newest(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pgd-at-digits" / "9").mkdir(parents=True)
    (tmp_path / "pgd-at-digits" / "9" / MANIFEST).write_text("{}")
    asked: list[str] = []

    def refuse(*arguments: object, version: str, name: str, **rest: object) -> Path:
        asked.append(f"{name}/{version}")
        raise KeyboardInterrupt

    monkeypatch.setattr("training.commands.exporting.export_bundle", refuse)
    assert invoke(capsys, "export", run, "--store", tmp_path).code == 130
    assert asked == ["pgd-at-digits/10"]


def test_what_is_no_run_is_an_error_that_names_the_fix(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = invoke(capsys, "export", tmp_path, "--store", tmp_path)
    assert outcome.code == 1
    assert "no checkpoint" in outcome.err
    assert "run's directory" in outcome.err
    assert "Traceback" not in outcome.err


def test_the_path_of_a_data_set_stays_at_home(tmp_path: Path) -> None:
    path = tmp_path / "secret" / "digits.npz"
    path.parent.mkdir()
    source = load_data("digits")
    arrays = {
        f"{part}_{what}": getattr(getattr(source, part), what)
        for part in ("train", "test")
        for what in ("images", "labels")
    }
    np.savez(path, **arrays)
    trainer = _trainer(tmp_path / "run", f"npz:{path}")
    facts = Facts.of_run(trainer.info(), trainer.network)
    content = json.dumps([facts.recipe, facts.dataset.model_dump()])
    assert str(tmp_path) not in content
    assert facts.recipe["dataset"]["name"] == facts.dataset.name == "npz:digits.npz"
