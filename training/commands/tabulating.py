"""How ``holdfast evaluate`` prints what it measured: for people, for documents, and for programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from holdfast import console
from holdfast.bundle import Bundle
from holdfast.manifest import Evaluation, Figure, ThreatModel
from holdfast.units import format_budget

LAYOUTS = ("text", "markdown", "csv", "json")

_COLUMNS = ("bundle", "defence", "attack", "accuracy", "low", "high", "images", "mean norm", "passes")

Evaluated = tuple[Bundle, ThreatModel, Evaluation]


def show(evaluated: Sequence[Evaluated], layout: str) -> None:
    """Print evaluations.

    Args:
        evaluated: Each with its bundle and the budget of attacks that name none.
        layout: One of :data:`LAYOUTS`.
    """
    if layout == "json":
        dumped = [
            {"bundle": f"{bundle.name}/{bundle.version}"} | evaluation.model_dump(mode="json")
            for bundle, _, evaluation in evaluated
        ]
        console.print_json(dumped[0] if len(dumped) == 1 else dumped)
    elif layout == "csv":
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows(row for bundle, _, evaluation in evaluated for row in _rows(bundle, evaluation))
        console.stdout.print(text.getvalue(), end="", soft_wrap=True, markup=False, highlight=False)
    elif layout == "markdown":
        for each in evaluated:
            console.stdout.print("\n".join(_markdown(*each)), soft_wrap=True, markup=False, highlight=False)
    else:
        for each in evaluated:
            _text(*each)


def _rows(bundle: Bundle, evaluation: Evaluation) -> Iterator[list[str]]:
    for figure in evaluation.figures:
        yield [
            f"{bundle.name}/{bundle.version}",
            figure.defence if figure.adaptive else f"{figure.defence}, unknown to the attack",
            figure.name,
            f"{figure.accuracy:.6g}",
            *(f"{bound:.6g}" for bound in figure.interval),
            str(figure.images),
            "" if figure.distance is None else f"{figure.distance:.6g}",
            "" if figure.passes is None else f"{figure.passes[0]:g}+{figure.passes[1]:g}",
        ]


def _head(bundle: Bundle, threat: ThreatModel) -> str:
    return f"{bundle.name} version {bundle.version}, {threat.norm} within {format_budget(threat.epsilon)}"


def _markdown(bundle: Bundle, threat: ThreatModel, evaluation: Evaluation) -> Iterator[str]:
    yield f"**{_head(bundle, threat)}**; {evaluation.dataset}"
    yield ""
    yield "| attack | defence | accuracy, % | 95 % interval | mean norm | passes an image | images |"
    yield "|---|---|---:|---|---:|---:|---:|"
    for figure in evaluation.figures:
        yield f"| {' | '.join(_cells(figure))} |"
    yield ""
    if evaluation.unreliable:
        yield f"Doubts: {evaluation.unreliable}."
        yield ""
    yield f"`{evaluation.command}`"
    yield ""


def _cells(figure: Figure) -> list[str]:
    low, high = figure.interval
    return [
        figure.name,
        figure.defence if figure.adaptive else f"{figure.defence}, unknown to the attack",
        f"{100 * figure.accuracy:.1f}",
        f"{100 * low:.1f} – {100 * high:.1f}",
        "" if figure.distance is None else f"{figure.distance:.3f}",
        "" if figure.passes is None else f"{figure.passes[0]:g} + {figure.passes[1]:g}",
        f"{figure.images:,}",
    ]


def _text(bundle: Bundle, threat: ThreatModel, evaluation: Evaluation) -> None:
    figures = evaluation.figures
    defended = any(figure.defence != "none" for figure in figures)
    distances = any(figure.distance is not None for figure in figures)
    columns = [
        "",
        *["defence"] * defended,
        ">accuracy",
        ">95 % interval",
        *[">mean norm"] * distances,
        ">images",
    ]
    table = console.table(*columns)
    console.stdout.print(_head(bundle, threat), soft_wrap=True)
    console.stdout.print(evaluation.dataset, soft_wrap=True)
    for figure in figures:
        low, high = figure.interval
        defence = figure.defence if figure.adaptive else f"{figure.defence}, unknown"
        table.add_row(
            figure.name,
            *[defence] * defended,
            console.format_share(figure.accuracy),
            f"{low:.1%} to {high:.1%}",
            *["" if figure.distance is None else f"{figure.distance:.3f}"] * distances,
            f"{figure.images:,}",
        )
    console.stdout.print(table)
    if evaluation.unreliable:
        console.stderr.print("[bold yellow]Do not trust these figures:[/]", evaluation.unreliable)
