"""What ``holdfast figures`` does with trained bundles once its arguments are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from holdfast import console
from holdfast.bundle import Bundle, resolve
from holdfast.errors import UsageError
from holdfast.manifest import ThreatModel
from holdfast.units import format_budget
from training.evaluation.measurement import Measurement
from training.evaluation.runner import Images, Loaded, Progress, Runner
from training.evaluation.subject import check_fit, defences_of, images_of, threat_of
from training.figures.curves import Curves, Plan
from training.figures.curves_picture import draw
from training.figures.sweep import Sweep
from training.figures.words import written_like


@dataclass(frozen=True)
class Subjects:
    """The bundles of one figure, which are looked at on the same images.

    Attributes:
        bundles: Opened.
        images: That all of them take.
        loaded: The same, in memory.
    """

    bundles: list[Bundle]
    images: Images
    loaded: Loaded

    @classmethod
    def of(
        cls,
        references: Sequence[str],
        store: Path,
        *,
        data: str | None,
        root: Path | None,
        count: int | None,
    ) -> Subjects:
        """Open bundles and their images.

        Raises:
            BundleError: There is no such bundle, or it is damaged.
            UsageError: The bundles are of different data, or of other data than is named.
        """
        bundles = [resolve(reference, store) for reference in dict.fromkeys(references)]
        wanted = [images_of(bundle, data=data, root=root, count=count) for bundle in bundles]
        for bundle, images in zip(bundles, wanted, strict=True):
            if images != wanted[0]:
                raise UsageError(
                    f"{bundles[0].name} was trained on {wanted[0].dataset} and {bundle.name} on "
                    f"{images.dataset}, or with other options of it: one figure shows the same images.",
                    hint="Draw a figure for each, or name the data with --data.",
                )
        loaded = wanted[0].load()
        for bundle in bundles:
            check_fit(bundle, wanted[0].dataset, loaded)
        return cls(bundles, wanted[0], loaded)

    def threat(self, epsilon: str | None, norm: str | None, *, same: bool) -> ThreatModel:
        """The one budget of a figure: what is said, or the bundles' own, the largest where they differ.

        Args:
            epsilon: What the caller says, if anything.
            norm: Likewise.
            same: Whether the bundles must have the same one.

        Raises:
            UsageError: They are of different norms, or of different budgets where these must be the same.
        """
        found = [threat_of(bundle, epsilon, norm) for bundle in self.bundles]
        if len({threat.norm for threat in found}) > 1:
            raise UsageError(
                "The bundles' threat models are in different norms.", hint="Name one: --norm linf"
            )
        largest = max(found, key=lambda threat: threat.epsilon)
        others = {format_budget(threat.epsilon) for threat in found if threat.epsilon != largest.epsilon}
        if same and others:
            raise UsageError(
                f"The bundles have different budgets: {', '.join(sorted(others))} and "
                f"{format_budget(largest.epsilon)}.",
                hint=f"Name one: --epsilon {format_budget(largest.epsilon)}",
            )
        return largest


def draw_curves(
    subjects: Subjects,
    runner: Runner,
    *,
    over: str,
    at: str | None,
    attacks: Sequence[str],
    defences: Sequence[str] | None,
    epsilon: str | None,
    norm: str | None,
    seed: int,
    out: Path,
    name: str | None,
) -> Curves:
    """Measure and draw accuracy against the budget or against steps, and print the numbers.

    Raises:
        UsageError: Something is not to be had; nothing was measured then.
    """
    threat = subjects.threat(epsilon, norm, same=over == "steps")
    pairs = [(bundle, defence) for bundle in subjects.bundles for defence in defences_of(bundle, defences)]
    plan = Plan.of(pairs, attacks, Sweep.of(over, threat, at), seed)
    measurements = plan.measurements
    for what in measurements:
        runner.ledger(what, subjects.loaded.digest)  # a source that there is not is noticed here
    with measuring(measurements, subjects) as progress:
        curves = plan.measure(runner, progress, subjects.loaded)
    name = name or f"curves-{over}"
    draw(curves, out, name)
    _print(curves)
    wrote(out, name)
    return curves


@contextmanager
def measuring(measurements: Sequence[Measurement], subjects: Subjects) -> Iterator[Progress]:
    """The progress bar of measurements, in passes of single images."""
    classes = len(subjects.bundles[0].manifest.classes)
    passes = {what: what.line.passes(classes) for what in measurements}
    done = 0.0
    with console.progress(
        "Measuring", len(subjects.loaded.split) * sum(passes.values()), unit="passes"
    ) as bar:

        def advance(what: Measurement, images: float) -> None:
            nonlocal done
            done += images * passes[what]
            bar.update(round(done), note=what.line.name)

        yield advance


def wrote(out: Path, name: str) -> None:
    """Say where a figure and its numbers lie."""
    console.stderr.print(f"Wrote {name}.png, .svg, .json and .csv to {out}", soft_wrap=True)


def _print(curves: Curves) -> None:
    points = list(dict.fromkeys(point.at for curve in curves.curves for point in curve.points))
    heads = [written_like(at, curves.around) if curves.over == "epsilon" else f"{at:g}" for at in points]
    table = console.table("bundle", "defence", "attack", *(f">{head}" for head in heads))
    for curve in curves.curves:
        shares = (console.format_share(point.accuracy) for point in curve.points)
        table.add_row(curve.bundle, curve.defence, curve.attack, *shares)
    what = "ε" if curves.over == "epsilon" else curves.counted
    console.stdout.print(table)
    console.stdout.print(f"Accuracy by {what}; {curves.dataset}.", soft_wrap=True)
    for curve in curves.curves:
        for point in curve.points:
            for flag in point.flags:
                console.stderr.print(
                    f"{curve.bundle} behind {curve.defence}, {point.line}: {flag}", soft_wrap=True
                )
