"""Cells of a paper's table: what outcomes say, and how far ours are from theirs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from holdfast.manifest import ThreatModel
from training.evaluation.line import Line
from training.evaluation.measurement import Measurement
from training.evaluation.outcome import Outcome
from training.evaluation.tables.casting import Planned
from training.evaluation.tables.filling import Cell, Ours, fill, measured
from training.evaluation.tables.table import Column, Published

EIGHT = ThreatModel(norm="linf", epsilon=8 / 255)
HALF = Column("PGD20", ("pgd-20",))


def what(text: str) -> Measurement:
    return Measurement(Path("anywhere"), "none", Line.parse(text, EIGHT))


def outcome(right: str, l2: tuple[float, ...] | None = None) -> Outcome:
    held = np.array([each == "1" for each in right])
    norms = np.array(l2 or (0.0,) * len(right), dtype=np.float32)
    return Outcome(np.ones_like(held), held, ~held, np.zeros_like(held), norms, norms)


def cell(ours: float, published: str, half: float = 5.0) -> Cell:
    return Cell(HALF, Published.read(published), Ours(ours, ours - half, ours + half, 100))


def test_an_accuracy_is_in_percent_with_its_interval() -> None:
    pgd = what("pgd-20")
    ours = measured(HALF, Planned(("pgd-20",), (pgd,)), {pgd: outcome("1100")})
    assert ours is not None
    assert (ours.value, ours.images) == (50, 4)
    assert 0 < ours.low < 50 < ours.high < 100
    assert ours.half_width == pytest.approx((ours.high - ours.low) / 2)


def test_several_lines_are_the_worst_case_image_by_image() -> None:
    one, other = what("pgd-20"), what("square-10")
    planned = Planned(("pgd-20", "square-10"), (one, other))
    ours = measured(
        Column("both", planned.lines),
        planned,
        {one: outcome("1100"), other: outcome("0110"), what("fgsm"): outcome("0000")},
    )
    assert ours is not None
    assert ours.value == 25


def test_a_norm_is_the_mean_over_the_images_that_were_fooled() -> None:
    ddn = what("ddn")
    planned, column = Planned(("ddn",), (ddn,)), Column("DDN", ("ddn",), "norm")
    ours = measured(column, planned, {ddn: outcome("0010", (0.5, 1.5, 9.0, 1.0))})
    assert ours is not None
    assert (ours.value, ours.images) == (1.0, 3)
    assert ours.half_width == pytest.approx(1.96 * np.std([0.5, 1.5, 1.0]) / np.sqrt(3))
    assert measured(column, planned, {ddn: outcome("1111")}) is None
    assert fill(column, None, planned, None).missing == "no image was fooled, so there is no norm"


def test_nothing_is_measured_where_nothing_was_planned() -> None:
    assert measured(HALF, Planned(), {}) is None
    missing = fill(HALF, Published.read("70.5"), Planned(missing="so it is"), None)
    assert (missing.missing, missing.difference, missing.settled) == ("so it is", None, False)


def test_a_difference_is_ours_minus_theirs() -> None:
    assert cell(60.0, "70.5").difference == pytest.approx(-10.5)
    assert Cell(HALF, None, Ours(60, 55, 65, 100)).difference is None
    assert cell(60.0, "70.5").settled
    assert not cell(60.0, "64.9").settled, "more images may undo it"


def test_what_a_paper_only_bounds_differs_only_from_above() -> None:
    assert cell(0.5, "<=1").difference is None
    assert cell(3.0, "<=1").difference == pytest.approx(2.0)
