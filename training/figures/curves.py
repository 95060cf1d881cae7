"""Accuracy against the budget and against an attack's steps, measured (FS Fig. 3, MAT Fig. 2, ATLD Fig. 3).

:mod:`training.figures.curves_picture` draws them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from holdfast.bundle import Bundle
from holdfast.errors import UsageError
from holdfast.manifest import Defence
from training.evaluation.measurement import Measurement
from training.evaluation.report import figure as figure_of
from training.evaluation.runner import Loaded, Progress, Runner
from training.figures.sweep import Over, Sweep

Subject = tuple[Bundle, Defence]


@dataclass(frozen=True)
class Point:
    """One measurement.

    Attributes:
        at: ε in image units, or the number of steps.
        line: The attack, as ``holdfast evaluate --attack`` takes it.
        accuracy: From 0 to 1.
        low: Of the 95 % Wilson interval.
        high: Of the same.
        flags: Why not to believe it.
    """

    at: float
    line: str
    accuracy: float
    low: float
    high: float
    flags: list[str]


@dataclass(frozen=True)
class Curve:
    """One attack on one bundle behind one defence."""

    bundle: str
    defence: Defence
    attack: str
    points: list[Point]


@dataclass(frozen=True)
class Curves:
    """All that one figure shows.

    Attributes:
        over: What the horizontal axis is.
        counted: What it counts, where it is over steps.
        dataset: The images, in words.
        images: How many.
        norm: Of all budgets.
        epsilon: The threat model's.
        curves: In order.
    """

    over: Over
    counted: str
    dataset: str
    images: int
    norm: str
    epsilon: float
    curves: list[Curve]

    @property
    def around(self) -> float:
        """The budget that the others are written like."""
        return self.epsilon or max(point.at for curve in self.curves for point in curve.points)


@dataclass(frozen=True)
class Plan:
    """What is to be measured for a figure.

    Attributes:
        sweep: The horizontal axis.
        curves: Bundle, defence and name of the attack, each with the measurement at each point.
    """

    sweep: Sweep
    curves: list[tuple[Subject, str, list[tuple[float, Measurement]]]]

    @classmethod
    def of(cls, subjects: Sequence[Subject], attacks: Sequence[str], sweep: Sweep, seed: int = 0) -> Plan:
        """Every attack on every subject.

        Raises:
            UsageError: An attack cannot be run along this axis.
        """
        lines = {sweep.name(attack): sweep.lines(attack, seed) for attack in attacks}
        curves = []
        for bundle, defence in subjects:
            for name, along in lines.items():
                # Crafted on the model itself: the same as without `from`.
                if any(line.source == defence for _, line in along):
                    continue
                measured = [(at, Measurement(bundle.root, defence, line)) for at, line in along]
                curves.append(((bundle, defence), name, measured))
        if not curves:
            raise UsageError(
                "No attack is left: crafted on the model itself, a transfer is the attack without `from`.",
                hint="Name a defence with --defence, or leave `from` out.",
            )
        return cls(sweep, curves)

    @property
    def measurements(self) -> list[Measurement]:
        """Each once: curves of the same bundle share their clean images."""
        return list(dict.fromkeys(what for _, _, along in self.curves for _, what in along))

    def measure(self, runner: Runner, progress: Progress, loaded: Loaded) -> Curves:
        """Measure what the runner's ledgers do not know yet."""
        measurements = self.measurements
        outcomes = dict(zip(measurements, runner.run(measurements, progress, loaded), strict=True))
        found = []
        for (bundle, defence), name, along in self.curves:
            points = []
            for at, what in along:
                row = figure_of(what, outcomes[what])
                low, high = row.interval
                points.append(Point(at, what.line.name, row.accuracy, low, high, row.flags))
            found.append(Curve(f"{bundle.name}/{bundle.version}", defence, name, points))
        over = self.sweep.over
        return Curves(
            over=over,
            counted=self.sweep.counted([what.line for what in measurements]) if over == "steps" else "",
            dataset=loaded.words,
            images=len(loaded.split),
            norm=self.sweep.threat.norm,
            epsilon=self.sweep.threat.epsilon,
            curves=found,
        )
