"""Lines: what can be written, what it stands for, and what is refused."""

from __future__ import annotations

import pytest

from holdfast.attacks import (
    APGDTParameters,
    FABTParameters,
    FGSMParameters,
    PGDParameters,
    RaySParameters,
    SquareParameters,
)
from holdfast.errors import UsageError
from holdfast.manifest import ThreatModel
from training.evaluation.line import Line

LINF = ThreatModel(norm="linf", epsilon=8 / 255)
L2 = ThreatModel(norm="l2", epsilon=0.5)


def parameters(text: str, threat: ThreatModel = LINF, seed: int = 0) -> object:
    return Line.parse(text, threat, seed).parameters


def test_pgd_is_the_papers() -> None:
    found = parameters("cw-20x3", seed=7)
    assert found == PGDParameters(
        norm="linf",
        epsilon=8 / 255,
        loss="cw",
        steps=20,
        step_size=2 / 255,
        restarts=3,
        stop_at_success=False,
        seed=7,
    )
    short = parameters("pgd-5")
    assert isinstance(short, PGDParameters)
    assert short.step_size == pytest.approx(4 / 255), "few steps are longer ones, to reach the surface"


def test_fgsm_starts_at_random_as_the_papers_does() -> None:
    assert parameters("fgsm") == FGSMParameters(epsilon=8 / 255, random_start=True)


def test_other_attacks_keep_their_own_defaults() -> None:
    assert parameters("apgd-t") == APGDTParameters(epsilon=8 / 255)
    assert parameters("apgd-t-20") == APGDTParameters(epsilon=8 / 255, steps=20)
    assert parameters("square-700", L2) == SquareParameters(norm="l2", epsilon=0.5, query_budget=700)


def test_any_parameter_can_be_given() -> None:
    found = parameters("pgd-20,epsilon=16/255,loss=ce+manifold,random_start=false,target=least-likely")
    assert isinstance(found, PGDParameters)
    assert (found.epsilon, found.loss, found.random_start, found.target) == (
        16 / 255,
        "ce+manifold",
        False,
        "least-likely",
    )


def test_an_attack_that_minimises_the_threat_models_norm_is_held_to_its_budget() -> None:
    assert Line.parse("rays-500", LINF).parameters == RaySParameters(epsilon=8 / 255, query_budget=500)
    assert Line.parse("fab-t", LINF).parameters == FABTParameters(epsilon=8 / 255, stop_at_success=True)
    assert Line.parse("ddn", L2).threat == L2


@pytest.mark.parametrize("text", ["rays-500,epsilon=none", "ddn", "cw-l2-100"])
def test_otherwise_it_minimises_freely(text: str) -> None:
    line = Line.parse(text, LINF)
    assert line.minimises
    assert line.threat is None


def test_a_transfer_takes_every_step() -> None:
    line = Line.parse("apgd-ce,from=other/2", LINF)
    assert line.source == "other/2"
    assert getattr(line.parameters, "stop_at_success", None) is False
    kept = Line.parse("apgd-ce,from=other,stop_at_success=true", LINF)
    assert getattr(kept.parameters, "stop_at_success", None) is True


def test_a_line_knows_its_passes() -> None:
    assert Line.parse("clean", LINF).passes(10) == 1
    assert Line.parse("pgd-20", LINF).passes(10) >= 40


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pgd", "without steps"),
        ("pgd-0", "no attack 'pgd-0'"),
        ("pgd-20x0", "no attack"),
        ("nonsense-3", "no attack 'nonsense'; there are pgd, cw"),
        ("cw-20 ", "no attack 'cw-20 '"),
        ("PGD-20", "no attack 'PGD-20'"),
        ("clean-2", "clean images have no parameters"),
        ("fgsm-3", "has no length"),
        ("square-100x2", "has no restarts"),
        ("pgd-20,steps=-1", "steps: Input should be greater"),
        ("pgd-20,nonsense=1", "nonsense: Extra inputs"),
        ("pgd-20,epsilon", "'epsilon' is not key=value"),
        ("pgd-20,epsilon=lots", "lots"),
        ("pgd-20,from=a,from=b", "says from twice"),
        ("pgd-20,through=magic", "through is bpda or end-to-end"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said.replace("+", r"\+")):
        Line.parse(text, LINF)
