"""``holdfast export``, as a person uses it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.cli import invoke
from support.exported import Exported

from holdfast.bundle import MANIFEST, WEIGHTS, Bundle
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


@pytest.fixture(scope="module")
def store(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model store with the run's network, ``mine/1``."""
    from training.commands.exporting import run as export

    store, said = tmp_path_factory.mktemp("store"), "A try."
    options: dict[str, Any] = {"version": None, "torchscript": False, "force": False, "data_root": None}
    export(run, name="mine", store=store, description=said, precision="float32", **options)
    return store


def test_a_bundle_is_exported_anew_with_half_the_weights_and_never_from_rounded_ones(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = invoke(capsys, "export", store / "mine" / "1", "--precision", "float16", "--store", store)
    assert outcome.code == 0, outcome.err
    assert "Its weights are stored as float16: 0.00% of 359 images change their class" in outcome.out
    assert "14 of 14 steps (100%)" in outcome.err
    whole, half = (Bundle.open(store / "mine" / version) for version in ("1", "2"))
    assert half.manifest.files[WEIGHTS].size < 0.6 * whole.manifest.files[WEIGHTS].size
    measured = {"version", "created", "calibration", "precision", "parity", "files", "digest"}
    expected, found = (bundle.manifest.model_dump(exclude=measured) for bundle in (whole, half))
    assert found == expected
    assert half.manifest.description == "A try."

    again = invoke(capsys, "export", half.root, "--store", store)
    assert again.code == 2
    assert "has its weights rounded to float16 already" in again.err
    assert "Export the run" in again.err


def test_a_bundle_that_does_not_name_its_data_is_not_exported_anew(
    exported: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = invoke(capsys, "export", exported.bundle.root, "--store", tmp_path)
    assert outcome.code == 2
    assert "does not say which images its network was trained on" in outcome.err


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
