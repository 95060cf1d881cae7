"""Which of many figures stand for a model."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from holdfast.bundle import Bundle
from holdfast.figures import clean_figure, doubts, newest_evaluation, robust_figure
from holdfast.interval import wilson
from holdfast.manifest import UNKNOWN_DATASET, Evaluation, Figure, Manifest, ThreatModel

OWN = ThreatModel(norm="linf", epsilon=8 / 255)
SMALLER = ThreatModel(norm="linf", epsilon=2 / 255)


@pytest.fixture
def manifest(tiny_bundle: Path) -> Manifest:
    return Bundle.open(tiny_bundle).manifest


def figure(name: str, accuracy: float, images: int = 100, **more: Any) -> Figure:
    interval = wilson(round(accuracy * images), images)
    return Figure(name=name, accuracy=accuracy, interval=interval, images=images, **more)


def evaluated(manifest: Manifest, *rounds: list[Figure]) -> Manifest:
    """The manifest with one evaluation for each list of figures, the newest first."""
    evaluations = [
        Evaluation(
            command="",
            date=datetime(2026, 1, 30 - day, tzinfo=UTC),
            dataset=f"{manifest.dataset.name}, all 10 test images, digest 0",
            seed=0,
            figures=figures,
            unreliable=None,
        )
        for day, figures in enumerate(rounds)
    ]
    return manifest.model_copy(update={"evaluations": evaluations})


def test_weakest_attack_within_the_threat_model_counts(manifest: Manifest) -> None:
    figures = [
        figure("clean", 0.9),
        figure("PGD-20", 0.5, attack="pgd", threat_model=OWN),
        figure("CW", 0.4, attack="cw", threat_model=OWN),
        figure("small", 0.1, attack="pgd", threat_model=SMALLER),
    ]
    chosen = robust_figure(evaluated(manifest, figures))
    assert chosen
    assert chosen.name == "CW"


def test_figures_of_another_threat_model_count_where_there_are_no_others(manifest: Manifest) -> None:
    figures = [figure("small", 0.8, attack="pgd", threat_model=SMALLER)]
    assert robust_figure(evaluated(manifest, figures)) == figures[0]


def test_figures_of_defences_at_inference_are_not_the_models(manifest: Manifest) -> None:
    figures = [
        figure("clean with IMT", 0.95, defence="imt"),
        figure("clean", 0.9),
        figure("PGD-20 with IMT", 0.2, attack="pgd", threat_model=OWN, defence="imt"),
        figure("PGD-20", 0.5, attack="pgd", threat_model=OWN),
    ]
    measured = evaluated(manifest, figures)
    assert clean_figure(measured) == figures[1]
    assert robust_figure(measured) == figures[3]


def test_newest_evaluation_counts_wherever_it_stands(manifest: Manifest) -> None:
    measured = evaluated(manifest, [figure("clean", 0.9)], [figure("clean", 0.8)])
    assert newest_evaluation(measured) == measured.evaluations[0]
    chosen = clean_figure(measured)
    assert chosen
    assert chosen.accuracy == 0.9


def test_figures_on_other_images_say_nothing_that_compares(manifest: Manifest) -> None:
    own = [figure("clean", 0.9), under(0.5)]
    other = [figure("clean", 0.1, images=1000), under(0.02, images=1000)]
    measured = evaluated(manifest, own, other)
    name = manifest.dataset.name
    elsewhere = measured.evaluations[1].model_copy(update={"dataset": f"{name}-other, all 9 test images"})
    measured = measured.model_copy(update={"evaluations": [measured.evaluations[0], elsewhere]})
    assert clean_figure(measured) == own[0]
    assert robust_figure(measured) == own[1]
    unknown = manifest.dataset.model_copy(update={"name": UNKNOWN_DATASET})
    assert robust_figure(measured.model_copy(update={"dataset": unknown})) == other[1], "it may be its own"


def test_doubts_of_any_evaluation_stay(manifest: Manifest) -> None:
    measured = evaluated(manifest, [figure("clean", 0.9)], [under(0.5)])
    assert doubts(measured) is None
    reasons = [None, "masked"]
    evaluations = [
        each.model_copy(update={"unreliable": reason})
        for each, reason in zip(measured.evaluations, reasons, strict=True)
    ]
    assert doubts(measured.model_copy(update={"evaluations": evaluations})) == "masked"


def test_the_clean_accuracy_on_most_images_counts(manifest: Manifest) -> None:
    measured = evaluated(manifest, [figure("clean", 0.95, images=20)], [figure("clean", 0.8, images=1000)])
    chosen = clean_figure(measured)
    assert chosen
    assert chosen.accuracy == 0.8


def under(accuracy: float, images: int = 100, threat: ThreatModel = OWN) -> Figure:
    return figure("pgd", accuracy, images, attack="pgd", threat_model=threat)


def test_a_weaker_attack_measured_later_does_not_make_a_model_more_robust(manifest: Manifest) -> None:
    chosen = robust_figure(evaluated(manifest, [under(0.6)], [under(0.3)]))
    assert chosen
    assert chosen.accuracy == 0.3


def test_of_equals_the_one_over_the_most_attacks_counts(manifest: Manifest) -> None:
    worst = figure("worst case", 0.3, attack="pgd + cw", threat_model=OWN)
    assert robust_figure(evaluated(manifest, [under(0.3), worst])) == worst
    assert robust_figure(evaluated(manifest, [under(0.3)], [worst])) == worst
    assert robust_figure(evaluated(manifest, [worst], [under(0.3)])) == worst


def test_few_images_do_not_make_a_model_less_robust_than_many(manifest: Manifest) -> None:
    chosen = robust_figure(evaluated(manifest, [under(0.2, images=5)], [under(0.3, images=1000)]))
    assert chosen
    assert chosen.accuracy == 0.3
    assert robust_figure(evaluated(manifest, [under(0.2, images=5)])) is not None


def test_the_own_budget_counts_whichever_evaluation_has_it(manifest: Manifest) -> None:
    chosen = robust_figure(evaluated(manifest, [under(0.1, threat=SMALLER)], [under(0.3)]))
    assert chosen
    assert chosen.accuracy == 0.3


def test_nothing_measured_is_nothing_claimed(manifest: Manifest) -> None:
    never = evaluated(manifest)
    assert newest_evaluation(never) is clean_figure(never) is robust_figure(never) is None
    assert robust_figure(evaluated(manifest, [figure("clean", 0.9)])) is None
