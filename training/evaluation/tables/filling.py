"""A table with our numbers beside the paper's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from holdfast.interval import wilson
from holdfast.manifest import ThreatModel
from training.evaluation.measurement import Measurement
from training.evaluation.outcome import Outcome
from training.evaluation.tables.casting import Part, Planned
from training.evaluation.tables.table import Column, Published, Table

#: Said of every attack on a network that answers differently, and of every rounding: no reason for doubt.
_USUAL = ("lost_by_rounding", "dynamic")


@dataclass(frozen=True)
class Ours:
    """What we measured.

    Attributes:
        value: In the unit of the column: percent, or a norm in image units, or a cosine.
        low: Of the 95 % interval.
        high: Of the same.
        images: That it is a mean over.
        deviation: What stands behind ±, for a cosine.
        flags: Why not to believe it.
    """

    value: float
    low: float
    high: float
    images: int
    deviation: float | None = None
    flags: tuple[str, ...] = ()

    @property
    def half_width(self) -> float:
        """Half of the interval's width."""
        return (self.high - self.low) / 2


@dataclass(frozen=True)
class Cell:
    """One number of the paper and ours.

    Attributes:
        column: Of the table.
        published: The paper's; None if it has none.
        ours: None if nobody plays the row, or nothing could be measured.
        lines: What was run.
        missing: Why there is no number of ours, where a bundle plays the row.
    """

    column: Column
    published: Published | None
    ours: Ours | None
    lines: tuple[str, ...] = ()
    missing: str = ""

    @property
    def difference(self) -> float | None:
        """Ours minus theirs, in points where the column is in percent."""
        if self.ours is None or self.published is None:
            return None
        difference = self.ours.value - self.published.value
        return None if self.published.at_most and difference <= 0 else difference

    @property
    def settled(self) -> bool:
        """Whether theirs is outside of our interval, so that more images would not undo the difference."""
        if self.ours is None or self.published is None:
            return False
        return not self.ours.low <= self.published.value <= self.ours.high


@dataclass(frozen=True)
class Played:
    """A row.

    Attributes:
        part: Who plays it.
        cells: One for each column.
        images: What the bundle was measured on; empty if none was.
        doubts: Why not to believe some of the bundle's figures.
    """

    part: Part
    cells: tuple[Cell, ...]
    images: str = ""
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Filled:
    """A table with all that was measured.

    Attributes:
        table: As the paper has it.
        threat: The budget of attacks that name none.
        rows: In order.
        command: That measures the same again; empty where nobody plays.
    """

    table: Table
    threat: ThreatModel
    rows: tuple[Played, ...]
    command: str = ""


def fill(column: Column, published: Published | None, planned: Planned, ours: Ours | None) -> Cell:
    """One cell, from what was planned and found."""
    missing = planned.missing
    if planned.measurements and ours is None:
        missing = "no image was fooled, so there is no norm"
    return Cell(column, published, ours, planned.lines, missing)


def measured(column: Column, planned: Planned, outcomes: Mapping[Measurement, Outcome]) -> Ours | None:
    """What a cell's outcomes say.

    An accuracy is over all images, in percent; under several lines of those that hold under each. A norm is
    the mean over the images that the network was right about and that the attack fooled.

    Returns:
        None if nothing was measured, or no image was fooled.
    """
    if not planned.measurements:
        return None
    found = [outcomes[what] for what in planned.measurements]
    flags = tuple(
        dict.fromkeys(str(flag) for one in found for flag in one.flags() if flag.name not in _USUAL)
    )
    if column.quantity == "norm":
        norms = found[0].distances(getattr(planned.measurements[0].line.parameters, "norm", "l2"))
        if not len(norms):
            return None
        half = 1.96 * float(norms.std(dtype=np.float64)) / math.sqrt(len(norms))
        mean = float(norms.mean(dtype=np.float64))
        return Ours(mean, max(0.0, mean - half), mean + half, len(norms), flags=flags)
    held = np.logical_and.reduce([one.right for one in found])
    return of_share(int(held.sum()), len(held), flags)


def of_share(successes: int, trials: int, flags: tuple[str, ...] = ()) -> Ours:
    """A share in percent, with its Wilson interval."""
    low, high = wilson(successes, trials)
    return Ours(100 * successes / trials, 100 * low, 100 * high, trials, flags=flags)
