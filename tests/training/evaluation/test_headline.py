"""The headline's attacks, and the doubts that a set of outcomes raises."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from holdfast.bundle import GRADIENT, Bundle
from holdfast.manifest import Defence, Manifest
from training.evaluation.headline import doubts, lines
from training.evaluation.line import Line
from training.evaluation.measurement import Measurement
from training.evaluation.outcome import Outcome
from training.evaluation.report import figures


@pytest.fixture
def judged(defended_store: Path) -> Manifest:
    return Bundle.open(defended_store / "judged" / "1").manifest


def outcomes(manifest: Manifest, held: dict[tuple[Defence, str], int]) -> dict[Measurement, Outcome]:
    """Attacks on 100 images, of which so many hold."""
    found = {}
    for (defence, text), count in held.items():
        right = np.arange(100) < count
        norms = np.zeros(100, dtype=np.float32)
        line = Line.parse(text, manifest.threat_model)
        outcome = Outcome(np.ones(100, dtype=bool), right, ~right, np.zeros(100, dtype=bool), norms, norms)
        found[Measurement(Path("bundle"), defence, line)] = outcome
    return found


def test_each_defence_is_attacked_by_who_knows_it_and_by_who_does_not(judged: Manifest) -> None:
    found = [(defence, line.name) for defence, line in lines(judged)]
    assert len(found) == len(set(found))
    for defence in ("imt", "imt+"):
        assert (defence, "apgd-t") in found
        assert (defence, "apgd-t,from=none") in found
        assert (defence, "pgd-20,loss=ce+manifold") in found
        assert (defence, "cw-20,through=end-to-end") in found
    assert ("none", "apgd-ce,from=imt") in found


def test_class_centres_are_attacked_on_their_own_loss(defended_store: Path) -> None:
    manifest = Bundle.open(defended_store / "centred" / "1").manifest
    assert "pgd-20,loss=ftc+so+bibo" in [line.name for _, line in lines(manifest)]
    for (alpha, beta), loss in {(0.01, 1): "ftc+0.01*so+bibo", (0, 2): "ftc+2*bibo", (0, 0): "ftc"}.items():
        recipe = {"method": {"name": "mat", "alpha": alpha, "beta": beta}}
        trained = manifest.model_copy(update={"recipe": recipe})
        assert f"pgd-20,loss={loss}" in [line.name for _, line in lines(trained)]


def test_without_a_gradient_the_headline_asks_for_answers_only(judged: Manifest) -> None:
    files = {name: entry for name, entry in judged.files.items() if name != GRADIENT}
    without = judged.model_copy(update={"files": files, "defences": ["none"]})
    assert [line.name for _, line in lines(without)] == ["clean", "square", "rays-2000"]


def test_a_worst_case_over_attacks_that_do_not_know_the_defence_says_so(judged: Manifest) -> None:
    unknowing: dict[tuple[Defence, str], int] = {
        ("imt", "pgd-20,from=none"): 70,
        ("imt", "cw-20,from=none"): 60,
    }
    (worst,) = [
        each
        for each in figures(outcomes(judged, unknowing), judged, judged.threat_model)
        if each.name == "worst case"
    ]
    assert not worst.adaptive
    knowing: dict[tuple[Defence, str], int] = {("imt", "pgd-20"): 50, ("none", "pgd-20"): 80}
    found = figures(outcomes(judged, unknowing | knowing), judged, judged.threat_model)
    (worst,) = [each for each in found if each.name == "worst case" and each.defence == "imt"]
    assert worst.adaptive
    assert (found[-1].name, found[-1].defence, found[-1].accuracy) == ("worst case", "all", 0.5)


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ({("none", "pgd-20"): 70, ("none", "cw-20"): 55}, "its gradient is masked"),
        ({("none", "pgd-20"): 70, ("none", "square-100"): 60}, "square-100, which sees no gradient"),
        ({("imt", "pgd-20,from=none"): 70, ("imt", "pgd-20"): 40}, "that of not being known"),
        ({("imt", "pgd-20,from=none"): 70, ("none", "pgd-20"): 30}, "attacked by nothing that knows it"),
        ({("imt", "apgd-ce"): 20, ("none", "apgd-ce"): 50}, "it takes more than it gives"),
        ({("imt", "apgd-ce"): 10, ("none", "apgd-ce"): 20}, "it takes more than it gives"),
    ],
)
def test_a_gap_between_attacks_is_a_doubt(
    judged: Manifest, held: dict[tuple[Defence, str], int], said: str
) -> None:
    (doubt,) = doubts(outcomes(judged, held), judged)
    assert said in doubt


@pytest.mark.parametrize(
    "held",
    [
        {("none", "pgd-20"): 70, ("none", "cw-20"): 65},
        {("none", "pgd-20"): 70, ("none", "cw-40"): 50},
        {("none", "pgd-20"): 60, ("none", "square-100"): 70},
        {("imt", "pgd-20,from=none"): 70, ("imt", "pgd-20"): 65},
        {("none", "pgd-20"): 70, ("none", "square-100,epsilon=0.9"): 0},
        {("none", "pgd-20,target=least-likely"): 90, ("none", "square-100"): 60},
        {("none", "fgsm"): 70, ("none", "square-100"): 60},
        {("imt", "pgd-20"): 45, ("none", "pgd-20"): 50},
        {("imt", "pgd-20"): 2, ("none", "pgd-20"): 5},
    ],
)
def test_what_is_no_gap_is_no_doubt(judged: Manifest, held: dict[tuple[Defence, str], int]) -> None:
    assert doubts(outcomes(judged, held), judged) == []
