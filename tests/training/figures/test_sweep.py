"""The points of a curve, as lines that tables have, too."""

from __future__ import annotations

import pytest

from holdfast.errors import UsageError
from holdfast.manifest import ThreatModel
from training.evaluation.line import Line
from training.figures.sweep import Sweep

EIGHT = ThreatModel(norm="linf", epsilon=8 / 255)


def test_budgets_go_by_quarters_from_nothing_to_twice_the_threat_model() -> None:
    sweep = Sweep.of("epsilon", EIGHT)
    assert [at for at, _ in sweep.points] == [k * 2 / 255 for k in range(9)]
    names = [line.name for _, line in sweep.lines("pgd-20")]
    assert names[:3] == ["clean", "pgd-20,epsilon=2/255", "pgd-20,epsilon=4/255"]
    assert names[4] == "pgd-20", "the table's own line"


def test_budgets_that_are_no_255ths_are_decimals() -> None:
    sweep = Sweep.of("epsilon", ThreatModel(norm="linf", epsilon=0.1))
    assert [text for _, text in sweep.points][-3:] == ["0.15", "0.175", "0.2"]


def test_each_point_is_the_measurement_that_a_table_would_ask_for() -> None:
    for sweep, attack, texts in (
        (Sweep.of("epsilon", EIGHT, "4/255,8/255"), "cw-20x2", ["cw-20x2,epsilon=4/255", "cw-20x2"]),
        (Sweep.of("steps", EIGHT, "100,10"), "cw-20x2,seed=3", ["cw-10x2,seed=3", "cw-100x2,seed=3"]),
        (Sweep.of("steps", EIGHT, "1,2"), "apgd-ce", ["apgd-ce-1", "apgd-ce-2"]),
    ):
        assert [line for _, line in sweep.lines(attack)] == [Line.parse(text, EIGHT) for text in texts]


def test_a_curve_is_called_what_does_not_change_along_it() -> None:
    steps = Sweep.of("steps", EIGHT)
    assert steps.name("pgd-20x5,from=none") == "pgdx5,from=none"
    assert steps.name("apgd-ce") == "apgd-ce"
    assert Sweep.of("epsilon", EIGHT).name("pgd-20") == "pgd-20"


def test_what_the_axis_counts_is_what_the_attacks_count() -> None:
    sweep = Sweep.of("steps", EIGHT, "1,2")
    lines = [line for attack in ("pgd-20", "square") for _, line in sweep.lines(attack)]
    assert sweep.counted(lines) == "steps or queries"
    assert sweep.counted(lines[:2]) == "steps"


@pytest.mark.parametrize(
    ("over", "at", "attack", "said"),
    [
        ("time", None, "pgd-20", "--over is epsilon or steps"),
        ("steps", "1,ten", "pgd-20", "'ten' is no number of steps"),
        ("steps", "0,1", "pgd-20", "'0' is no number of steps"),
        ("epsilon", "8/255", "pgd-20", "two points"),
        ("epsilon", "8/255,8/255", "pgd-20", "two points"),
        ("epsilon", "0,eight", "pgd-20", "not a budget"),
        ("epsilon", None, "clean", "no attack to draw a curve of"),
        ("epsilon", None, "pgd-20,epsilon=4/255", "fixes epsilon"),
        ("steps", None, "pgd-20,steps=7", "fixes steps"),
        ("steps", None, "fgsm", "no length"),
        ("epsilon", None, "nonsense", "no attack 'nonsense'"),
    ],
)
def test_what_cannot_be_drawn_is_refused(over: str, at: str | None, attack: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Sweep.of(over, EIGHT, at).lines(attack)


def test_a_model_without_a_budget_asks_for_one() -> None:
    with pytest.raises(UsageError) as refused:
        Sweep.of("epsilon", ThreatModel(norm="linf", epsilon=0.0))
    assert "--epsilon" in refused.value.hint
    assert len(Sweep.of("epsilon", ThreatModel(norm="linf", epsilon=0.0), "0,0.1").points) == 2
