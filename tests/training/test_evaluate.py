"""Evaluation: the figures of a model whose robustness is known by hand, and how they are written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from holdfast.attacks.loss import AnyLoss
from holdfast.attacks.oracle import GradientAnswer
from holdfast.bundle import Bundle
from holdfast.errors import UsageError
from holdfast.manifest import Figure, ThreatModel
from training.commands.evaluate import app
from training.data import Split
from training.evaluate import Attack, evaluate, wilson
from training.journal import Journal


class Threshold:
    """Class 1 where the mean of an image is above one half: an image is lost if its mean can cross it."""

    classes = 2

    def logits(self, images: np.ndarray) -> np.ndarray:
        mean = images.mean((1, 2, 3))
        return np.stack([0.5 - mean, mean - 0.5], axis=1).astype(np.float32)

    def gradient(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        loss: AnyLoss,
        targets: np.ndarray | None = None,
        originals: np.ndarray | None = None,
    ) -> GradientAnswer:
        del loss, targets, originals
        away = np.where(labels == 1, -1.0, 1.0).astype(np.float32)[:, None, None, None]
        return GradientAnswer(self.logits(images), np.zeros(len(images)), np.broadcast_to(away, images.shape))


def split_of(levels: list[int], labels: list[int]) -> Split:
    images = np.stack([np.full((1, 4, 4), level, dtype=np.uint8) for level in levels])
    return Split(images, np.array(labels))


def measure(attacks: list[str], epsilon: float) -> dict[str, float]:
    # Means 100/255, 124/255, 200/255 and 130/255; the last one is labelled wrongly on purpose.
    split = split_of([100, 124, 200, 130], [0, 0, 1, 0])
    figures = evaluate(
        Threshold(),
        split,
        [Attack.parse(name) for name in attacks],
        ThreatModel(norm="linf", epsilon=epsilon),
        seed=0,
        batch_size=3,
        progress=lambda *_: None,
    )
    return {figure.name: figure.accuracy for figure in figures}


def test_figures_are_those_that_the_margins_dictate() -> None:
    # Within 8/255 only 124 can cross 127.5; within 40/255 also 100; 200 stays.
    assert measure(["clean", "pgd-20"], 8 / 255) == {"clean": 0.75, "pgd-20": 0.5}
    assert measure(["clean", "pgd-20"], 40 / 255) == {"clean": 0.75, "pgd-20": 0.25}


def test_the_worst_case_is_over_all_attacks_image_by_image() -> None:
    figures = measure(["clean", "fgsm", "pgd-10", "cw-10x2"], 8 / 255)
    assert figures["worst case"] == 0.5
    assert list(figures) == ["clean", "fgsm", "pgd-10", "cw-10x2", "worst case"]


def test_clean_accuracy_is_always_measured() -> None:
    assert next(iter(measure(["pgd-5"], 0.01))) == "clean"


@pytest.mark.parametrize("name", ["pgd", "pgd-0", "pgd-20x0", "autoattack", "cw-20 ", "PGD-20"])
def test_an_unknown_attack_is_refused_with_an_example(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        Attack.parse(name)
    assert "pgd-20" in caught.value.hint


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (5, 10), (10, 10), (9000, 10000)])
def test_the_interval_is_wilsons(successes: int, trials: int) -> None:
    low, high = wilson(successes, trials)
    z, p = 1.959964, successes / trials
    # Wilson's bounds solve (p − q)² = z² q (1 − q) / n.
    for bound in (low, high):
        assert (p - bound) ** 2 == pytest.approx(z**2 * bound * (1 - bound) / trials, abs=1e-9)
    assert 0 <= low <= p <= high <= 1


def test_the_command_measures_the_bundle_and_writes_its_card(digits_store: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(digits_store, store)
    name = next(store.iterdir()).name
    options = ["--store", str(store), "--images", "40", "--attack", "clean", "--attack", "pgd-5"]
    options += ["--journals", str(tmp_path / "journals")]
    result = CliRunner().invoke(app, [name, *options, "--epsilon", "0.1", "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    printed = json.loads(result.stdout)
    bundle = Bundle.open(store / name / "1")
    (evaluation,) = bundle.manifest.evaluations[-1:]
    assert [figure.name for figure in evaluation.figures] == ["clean", "pgd-5"]
    assert printed["figures"][1]["accuracy"] == evaluation.figures[1].accuracy
    assert evaluation.figures[1].accuracy <= evaluation.figures[0].accuracy
    assert "--images 40" in evaluation.command
    assert "pgd-5" in bundle.path("CARD.md").read_text(encoding="utf-8")


def test_the_command_repeats_its_figures(digits_store: Path, tmp_path: Path) -> None:
    name = next(digits_store.iterdir()).name
    options = ["--store", str(digits_store), "--images", "30", "--attack", "pgd-3", "--no-save", "--json"]
    options += ["--journals", str(tmp_path)]
    first, second = (
        CliRunner().invoke(app, [name, *options], catch_exceptions=False).stdout for _ in range(2)
    )
    assert json.loads(first)["figures"] == json.loads(second)["figures"]


class Interrupted(Threshold):
    """Fails at its fourth gradient, as if the power went."""

    def __init__(self) -> None:
        self.calls = 0

    def gradient(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        loss: AnyLoss,
        targets: np.ndarray | None = None,
        originals: np.ndarray | None = None,
    ) -> GradientAnswer:
        self.calls += 1
        if self.calls == 4:
            raise KeyboardInterrupt
        return super().gradient(images, labels, loss, targets)


def test_an_interrupted_evaluation_goes_on_where_it_stopped(tmp_path: Path) -> None:
    split = split_of([100, 124, 200, 130], [0, 0, 1, 0])

    def run(oracle: Threshold, journal: Journal) -> list[Figure]:
        return evaluate(
            oracle,
            split,
            [Attack.parse("pgd-3")],
            ThreatModel(norm="linf", epsilon=8 / 255),
            seed=0,
            batch_size=2,
            progress=lambda *_: None,
            journal=journal,
        )

    with pytest.raises(KeyboardInterrupt), Journal(tmp_path, "a") as journal:
        run(Interrupted(), journal)
    with journal.path.open("a") as torn:
        torn.write('{"attack": "pgd-3", "sta')
    later = Interrupted()
    with Journal(tmp_path, "a") as journal:
        assert journal.found == 3  # both clean batches and the first attacked one
        resumed = run(later, journal)
    assert later.calls == 3, "only the batch that was cut off is attacked again"
    assert not journal.path.exists()
    with Journal(tmp_path, "b") as other:
        assert other.found == 0
        assert run(Threshold(), other) == resumed
