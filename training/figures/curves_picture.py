"""The picture of :mod:`training.figures.curves`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.manifest import Defence
from training.figures import style
from training.figures.curves import Curves
from training.figures.words import budget, in_units, unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(curves: Curves, directory: Path, name: str) -> None:
    """Write the figure and its numbers as NAME.png, .svg, .json and .csv."""
    figure, axis = style.new_figure(figsize=(7.6, 4.3))
    subjects = list(dict.fromkeys((curve.bundle, curve.defence) for curve in curves.curves))
    attacks = list(dict.fromkeys(curve.attack for curve in curves.curves))
    scale, shade = _scale(curves), 0.14 if len(curves.curves) <= 4 else 0.07
    for curve in curves.curves:
        subject, attack = subjects.index((curve.bundle, curve.defence)), attacks.index(curve.attack)
        look = _look(subject if len(subjects) > 1 else attack, attack)
        at = [point.at * scale for point in curve.points]
        low = [100 * point.low for point in curve.points]
        high = [100 * point.high for point in curve.points]
        axis.fill_between(at, low, high, color=look["color"], alpha=shade, linewidth=0)
        # Not cut off at 0 and 100 %, where curves often are.
        axis.plot(at, [100 * point.accuracy for point in curve.points], **look, clip_on=False, zorder=3)
    _horizontal(axis, curves, scale)
    axis.set(ylabel="Accuracy (%), with 95 % intervals", ylim=(0, 100))
    style.plain(axis)
    _legend(figure, subjects, attacks)
    axis.set_title(_title(curves, subjects, attacks), loc="left", fontsize=10, pad=18)
    style.save(figure, directory, name)
    style.save_numbers(directory, name, curves, _table(curves))


def _horizontal(axis: Axes, curves: Curves, scale: float) -> None:
    """Say what the horizontal axis is, and mark the points and the threat model on it."""
    at = sorted({point.at for curve in curves.curves for point in curve.points})
    if curves.over == "steps":
        axis.set_xscale("log")
    axis.set_xticks([value * scale for value in at], [f"{value * scale:.4g}" for value in at])
    if curves.over == "steps":
        axis.minorticks_off()
        axis.set_xlabel(f"The attack's {curves.counted}")
        return
    axis.set_xlim(0, at[-1] * scale)
    axis.set_xlabel(f"ε ({unit(curves.norm, curves.around)})")
    if curves.epsilon:
        axis.axvline(curves.epsilon * scale, color=style.INK, linewidth=0.8, linestyle=(0, (2, 2)))
        axis.annotate(
            "threat model",
            (curves.epsilon * scale, 1),
            xycoords=axis.get_xaxis_transform(),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )


def _scale(curves: Curves) -> float:
    """What a point's ``at`` is multiplied by on the axis."""
    return in_units(curves.norm, curves.around) if curves.over == "epsilon" else 1.0


def _look(colour: int, attack: int) -> dict[str, Any]:
    return {
        "color": style.COLOURS[colour % len(style.COLOURS)],
        "marker": style.marks(attack + 1)[attack],
        "linestyle": style.dashes(attack + 1)[attack],
        "markersize": 4.5,
        "linewidth": 1.6,
    }


def _legend(figure: Figure, subjects: list[tuple[str, Defence]], attacks: list[str]) -> None:
    """Beside the axes: the colours' meaning, and that of markers and dashes."""
    from matplotlib.lines import Line2D

    handles = []
    if len(subjects) > 1:
        for index, subject in enumerate(subjects):
            colour = style.COLOURS[index % len(style.COLOURS)]
            handles.append(Line2D([], [], color=colour, linewidth=3, label=_subject(subject, subjects)))
    if len(attacks) > 1:
        for index, attack in enumerate(attacks):
            look = _look(index, index) if len(subjects) == 1 else _look(index, index) | {"color": style.INK}
            handles.append(Line2D([], [], label=attack, **look))
    if handles:
        figure.legend(handles=handles, loc="outside right upper", frameon=False, fontsize=9, handlelength=3.2)


def _subject(subject: tuple[str, Defence], subjects: list[tuple[str, Defence]]) -> str:
    """The bundle's name, with its version where there are two, and its defence."""
    bundle, defence = subject
    name = bundle.partition("/")[0]
    versions = {other for other, _ in subjects if other.partition("/")[0] == name}
    return (name if len(versions) == 1 else bundle) + ("" if defence == "none" else f" behind {defence}")


def _title(curves: Curves, subjects: list[tuple[str, Defence]], attacks: list[str]) -> str:
    under = f" under {attacks[0]}" if len(attacks) == 1 else " under attack"
    of = f" of {_subject(subjects[0], subjects)}" if len(subjects) == 1 else ""
    within = f", within {budget(curves.norm, curves.epsilon)}" if curves.over == "steps" else ""
    return f"Accuracy{of}{under}\n{curves.dataset.rpartition(', digest')[0]}{within}"


def _table(curves: Curves) -> style.Table:
    columns = ("bundle", "defence", "attack", curves.over, "line", "accuracy", "low", "high", "images")
    rows: list[tuple[object, ...]] = []
    for curve in curves.curves:
        subject = (curve.bundle, curve.defence, curve.attack)
        for point in curve.points:
            shares = (point.accuracy, point.low, point.high)
            rows.append((*subject, point.at, point.line, *shares, curves.images, "; ".join(point.flags)))
    return style.Table((*columns, "flags"), rows)
