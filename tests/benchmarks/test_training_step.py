"""The training step's benchmark: its parts are the step's, and its shares add up."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from step_parts import parts_of
from training_step import BATCH, STEP, _NoReporter, make_sides, random_images, share_out

from training import recipe as recipes
from training.distributed import World
from training.trainer import Trainer

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "training_step.py"

SMALL = ["model.architecture=small-cnn", "batch_size=6", "optimiser.learning_rate=1e-12"]


def make_trainer(directory: Path, recipe: str, *changes: str) -> Trainer:
    """A trainer on a few small images."""
    chosen = recipes.load(recipe, [*SMALL, *changes])
    data = random_images(chosen.batch_size, (3, 8, 8))
    return Trainer(chosen, data, directory, World(0, 1, torch.device("cpu")), _NoReporter())


@pytest.mark.parametrize(
    ("recipe", "changes", "forwards", "backwards"),
    [
        ("fs-cifar10", [], 3, 2),
        ("fs-cifar10", ["method.steps=2"], 4, 3),
        ("fs-cifar10", ["method.perturbation=supervised"], 2, 2),
        ("fs-cifar10", ["method.perturbation=random"], 1, 1),
        ("pgd-at-cifar10-small", ["precision=float32"], 3, 3),
        ("pgd-at-cifar10", ["method.random_start=false"], 8, 8),
        ("standard-cifar10", [], 1, 1),
        ("mat-cifar10", ["method.steps=3"], 6, 5),
        ("mat-cifar10", ["method.steps=3", "method.forwards=joint"], 5, 4),
        ("mat-cifar10", ["method.beta=0"], 1, 1),
        ("atld-cifar10", ["method.discriminator=wrn-10-1"], 2, 2),
        ("atld-cifar10", ["method.discriminator=mlp-1-8", "method.latent=logits", "method.steps=2"], 3, 3),
        ("atld-cifar10", ["method.invariance=logits", "method.batch_norm=apart"], 3, 4),
    ],
)
def test_the_parts_run_the_network_exactly_as_often_as_the_step(
    tmp_path: Path, recipe: str, changes: list[str], forwards: int, backwards: int
) -> None:
    trainer = make_trainer(tmp_path, recipe, *changes)
    parts = parts_of(trainer)
    assert (parts.forwards, parts.backwards) == (forwards, backwards)
    modes: list[tuple[str, bool]] = []
    # Not the head: MAT's losses are of the features, and so is what ATLD's discriminator judges.
    last = trainer.network.body.get_submodule("hidden")
    last.register_forward_hook(lambda *_: modes.append(("forward", last.training)))
    last.register_full_backward_hook(lambda *_: modes.append(("backward", last.training)))
    trainer.network.train()
    trainer.take_step(*next(trainer.batches.epoch(0)))
    of_step = modes.copy()
    assert [kind for kind, _ in of_step].count("forward") == forwards
    assert [kind for kind, _ in of_step].count("backward") == backwards
    modes.clear()
    for piece in parts.network.values():
        trainer.network.train(piece.training)
        piece.work()
    assert modes == of_step


def test_the_parts_leave_the_gradients_that_the_optimiser_takes(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, "fs-cifar10")
    parts = parts_of(trainer)
    for piece in (*parts.network.values(), *parts.other.values()):
        trainer.network.train(piece.training)
        piece.work()
    assert all(parameter.grad is not None for parameter in trainer.network.parameters())


def test_the_weights_stay_where_they_are_however_long_is_measured(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, "fs-cifar10")
    before = [parameter.detach().clone() for parameter in trainer.network.parameters()]
    for piece in make_sides(trainer, parts_of(trainer)).values():
        trainer.network.train(piece.training)
        piece.work()
    for was, now in zip(before, trainer.network.parameters(), strict=True):
        torch.testing.assert_close(now, was, rtol=0, atol=1e-9)


def test_the_shares_of_each_round_add_up_to_the_step(tmp_path: Path) -> None:
    parts = parts_of(make_trainer(tmp_path, "pgd-at-cifar10-small", "precision=float32"))
    names = [*parts.network, *parts.other]
    measured = {name: [1.0 + place, 2.0 + place] for place, name in enumerate(names)}
    shares = share_out({STEP: [100.0, 200.0], **measured}, parts)
    for number in (0, 1):
        assert sum(share.values[number] for share in shares.values()) == pytest.approx(1)
    assert shares[names[1]].values == (0.02, 0.015)


def test_it_runs_and_the_ratio_is_that_of_its_measurements(tmp_path: Path) -> None:
    results = tmp_path / "step.json"
    command = [sys.executable, str(SCRIPT), "fs-cifar10", "--architecture", "small-cnn", "--batch", "6"]
    command += ["--size", "8", "--threads", "1", "--device", "cpu", "--rounds", "3", "--json", str(results)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "feature-scattering on small-cnn, 6 images of 3x8x8" in done.stdout
    assert "3 forwards and 2 backwards" in done.stdout
    content = json.loads(results.read_text())
    seconds = content["seconds"]
    network = [name for name in seconds if "forward" in name]
    assert len(network) == 3
    assert BATCH in seconds
    for number, ratio in enumerate(content["efficiency"]["values"]):
        assert ratio == pytest.approx(sum(seconds[name][number] for name in network) / seconds[STEP][number])
