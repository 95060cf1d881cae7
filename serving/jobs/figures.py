"""A job's result as pictures: SVG drawn by hand, for a server that has no library for it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from serving.jobs.results import Reading
from serving.jobs.views import JobResult, RunResult, Share

_WIDTH = 760
_LEFT, _RIGHT, _TOP = 300, 40, 40
_BAR, _GAP = 12, 22
_CLEAN, _ROBUST, _INK, _GRID = "#8fb8de", "#1f4e79", "#222222", "#dddddd"
_CURVES = ("#1f4e79", "#c0504d", "#4f8f4f", "#8064a2", "#d08a2e", "#3a9aa8", "#7f7f7f", "#b5567f")
_FONT = "font-family='sans-serif' font-size='12'"


def accuracy_bars(result: JobResult) -> str:
    """Clean and robust accuracy of every run, with their intervals, or the share that holds."""
    height = _TOP + len(result.runs) * (2 * _BAR + _GAP) + 40
    parts = [_text(_LEFT, 22, _heading(result), bold=True)]
    for tenth in range(0, 11, 2):
        x = _x(tenth / 10)
        parts.append(f"<line x1='{x}' y1='{_TOP}' x2='{x}' y2='{height - 30}' stroke='{_GRID}'/>")
        parts.append(_text(x, height - 12, f"{10 * tenth} %", anchor="middle"))
    for number, run in enumerate(result.runs):
        y = _TOP + number * (2 * _BAR + _GAP) + _GAP / 2
        parts.append(_text(_LEFT - 8, y + _BAR + 4, _name(run), anchor="end"))
        for row, (share, colour) in enumerate(_bars(run)):
            parts += _bar(y + row * _BAR, share, colour)
    return _svg(_WIDTH, int(height), parts)


def success_curves(reading: Reading) -> str | None:
    """The share of the attacked images that are fooled within a norm, for the attacks that minimise one.

    Returns:
        ``None`` where no run has such a curve.
    """
    curves = [
        (run, sorted(sizes))
        for run, sizes in zip(reading.result.runs, reading.fooled_l2, strict=True)
        if run.record.minimises and sizes
    ]
    if not curves:
        return None
    height, bottom = 360 + 18 * len(curves), 320
    largest = max(sizes[-1] for _, sizes in curves) or 1.0
    left, right = 60, _WIDTH - _RIGHT
    parts = [
        _text(left, 22, "Fooled within a perturbation of that size (L2), of the images attacked", bold=True)
    ]
    for tenth in range(0, 11, 2):
        y = bottom - (bottom - _TOP) * tenth / 10
        x = left + (right - left) * tenth / 10
        parts.append(f"<line x1='{left}' y1='{y:.1f}' x2='{right}' y2='{y:.1f}' stroke='{_GRID}'/>")
        parts.append(_text(left - 6, y + 4, f"{10 * tenth} %", anchor="end"))
        parts.append(_text(x, bottom + 18, f"{largest * tenth / 10:.3g}", anchor="middle"))
    for number, (run, sizes) in enumerate(curves):
        attacked = run.record.totals.fooled + run.record.totals.held
        points = [f"{left},{bottom}"]
        for count, size in enumerate(sizes, 1):
            x = left + (right - left) * size / largest
            points += [
                f"{x:.1f},{bottom - (bottom - _TOP) * (count - 1) / attacked:.1f}",
                f"{x:.1f},{bottom - (bottom - _TOP) * count / attacked:.1f}",
            ]
        points.append(f"{right},{bottom - (bottom - _TOP) * len(sizes) / attacked:.1f}")
        colour = _CURVES[number % len(_CURVES)]
        parts.append(
            f"<polyline points='{' '.join(points)}' fill='none' stroke='{colour}' stroke-width='2'/>"
        )
        y = bottom + 44 + 18 * number
        parts.append(f"<rect x='{left}' y='{y - 9}' width='16' height='10' fill='{colour}'/>")
        parts.append(_text(left + 24, y, _name(run)))
    return _svg(_WIDTH, height, parts)


def _heading(result: JobResult) -> str:
    if result.labels == "model":
        return "Images that keep their class under attack"
    return "Accuracy: light before the attack, dark under it; with 95 % intervals"


def _bars(run: RunResult) -> list[tuple[Share | None, str]]:
    if run.clean_accuracy is not None:
        return [(run.clean_accuracy, _CLEAN), (run.robust_accuracy or _held(run), _ROBUST)]
    return [(None, _CLEAN), (_held(run), _ROBUST)]


def _held(run: RunResult) -> Share | None:
    """The share that is not fooled, of all that were attacked: of attacks that give no robust accuracy."""
    rate = run.record.totals.success_rate
    return None if rate is None else Share(value=1 - rate, interval=(1 - rate, 1 - rate))


def _bar(y: float, share: Share | None, colour: str) -> list[str]:
    if share is None:
        return []
    low, high = (_x(bound) for bound in share.interval)
    middle = y + _BAR / 2
    width = _x(share.value) - _LEFT
    return [
        f"<rect x='{_LEFT}' y='{y:.1f}' width='{width:.1f}' height='{_BAR - 2}' fill='{colour}'/>",
        f"<line x1='{low}' y1='{middle:.1f}' x2='{high}' y2='{middle:.1f}' stroke='{_INK}'/>",
    ]


def _name(run: RunResult) -> str:
    behind = "" if run.defence == "none" else f" ({run.defence})"
    return f"{run.attack} on {run.model}/{run.version}{behind}"


def _x(share: float) -> float:
    return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)


def _text(x: float, y: float, words: str, *, anchor: str = "start", bold: bool = False) -> str:
    weight = " font-weight='bold'" if bold else ""
    return f"<text x='{x}' y='{y}' text-anchor='{anchor}' fill='{_INK}'{weight}>{escape(words)}</text>"


def _svg(width: int, height: int, parts: Sequence[str]) -> str:
    inside = "\n".join(parts)
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}' "
        f"viewBox='0 0 {width} {height}' {_FONT}>\n<rect width='100%' height='100%' fill='white'/>\n"
        f"{inside}\n</svg>\n"
    )
