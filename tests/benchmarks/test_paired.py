"""Ratios are taken within a round, and their median over the rounds."""

from __future__ import annotations

import pytest
from paired import Spread, alternate, paired_ratio


def test_the_median_is_of_the_ratios_and_not_the_ratio_of_the_medians() -> None:
    ratio = paired_ratio([1.0, 20.0, 3.0], [1.0, 10.0, 4.0])
    assert ratio.values == (1.0, 2.0, 0.75)
    assert ratio.median == 1.0  # the medians are 3 and 4


def test_a_machine_that_slows_down_does_not_change_the_ratio() -> None:
    speeds = [1.0, 0.9, 0.5, 0.45, 1.1]
    ratio = paired_ratio([170 * speed for speed in speeds], [200 * speed for speed in speeds])
    assert (ratio.low, ratio.median, ratio.high) == pytest.approx((0.85, 0.85, 0.85))


def test_the_spread_is_the_quartiles() -> None:
    spread = Spread.of([5.0, 1.0, 4.0, 2.0, 3.0])
    assert (spread.low, spread.median, spread.high) == (2.0, 3.0, 4.0)
    assert spread.values == (5.0, 1.0, 4.0, 2.0, 3.0)


def test_sides_of_different_rounds_are_not_compared() -> None:
    with pytest.raises(ValueError, match="2 rounds of one side and 1 of the other"):
        paired_ratio([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="at least one round"):
        Spread.of([])


@pytest.mark.parametrize(
    ("values", "scale", "shown"),
    [
        ([1.0, 1.1, 1.3], 1.0, "1.10 (1.05 – 1.20)"),
        ([0.0021], 1000.0, "2.10"),
        ([1234.4, 1236.4], 1.0, "1,235 (1,235 – 1,236)"),
        ([0.0], 1.0, "0.00"),
        ([-0.031], 100.0, "-3.10"),
    ],
)
def test_figures_are_shown_with_three_digits(values: list[float], scale: float, shown: str) -> None:
    assert Spread.of(values).show(scale=scale) == shown


def test_the_sides_take_turns() -> None:
    order: list[str] = []
    sides = {name: lambda name=name: order.append(name) or len(order) for name in "ABC"}
    measured = list(alternate(sides, 2))
    assert order == ["A", "B", "C", "A", "B", "C"]
    assert measured == [("A", 1), ("B", 2), ("C", 3), ("A", 4), ("B", 5), ("C", 6)]
