"""``holdfast evaluate --summary``: bundles beside one another, a row for each defence and one for all."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from holdfast import console
from holdfast.bundle import Bundle
from holdfast.manifest import Defence, Evaluation, Figure, ThreatModel
from holdfast.units import format_budget
from training.evaluation.report import ENSEMBLE, UNKNOWING, WORST

#: What a figure is called and what its column is, where any bundle has it.
COLUMNS = {
    "clean": "clean",
    "pgd-20": "PGD-20",
    "cw-20": "CW-20",
    ENSEMBLE: "AutoAttack",
    "square": "Square",
    "rays-2000": "RayS",
    UNKNOWING: "worst, defence unknown",
    WORST: "worst case",
}


@dataclass(frozen=True)
class _Row:
    """One bundle behind one defence."""

    bundle: Bundle
    threat: ThreatModel
    defence: Defence | Literal["all"]
    figures: dict[str, Figure]
    evaluation: Evaluation


def show_summary(evaluated: Sequence[tuple[Bundle, ThreatModel, Evaluation]], layout: str) -> None:
    """Print one row for each bundle behind each defence.

    Args:
        evaluated: Bundles, the budgets of attacks that name none, and what was measured.
        layout: text, markdown, csv or json.
    """
    rows = [row for each in evaluated for row in _rows(*each)]
    if layout in ("csv", "json"):
        records = [record for row in rows for record in _records(row)]
        if layout == "json":
            console.print_json(records)
            return
        text = io.StringIO()
        writer = csv.DictWriter(text, records[0] if records else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
        _print(text.getvalue().removesuffix("\n"))
        return
    shown = {name: head for name, head in COLUMNS.items() if any(name in row.figures for row in rows)}
    several = len({row.bundle.root for row in rows}) > len({row.bundle.name for row in rows})
    lines = [
        [
            f"{row.bundle.name}/{row.bundle.version}" if several else row.bundle.name,
            row.defence,
            *(_cell(row, name) for name in shown),
        ]
        for row in rows
    ]
    if layout == "markdown":
        _print(f"| model | defence | {' | '.join(shown.values())} |")
        _print(f"|---|---|{'---:|' * len(shown)}")
        for line in lines:
            _print(f"| {' | '.join(line)} |")
        _print("")
        for note in _notes(rows):
            _print(f"- {note}")
        return
    table = console.table("model", "defence", *(f">{head}" for head in shown.values()))
    for line in lines:
        table.add_row(*line)
    console.stdout.print(table)
    for note in _notes(rows):
        _print(note)


def _print(text: str) -> None:
    console.stdout.print(text, soft_wrap=True, markup=False, highlight=False)


def _rows(bundle: Bundle, threat: ThreatModel, evaluation: Evaluation) -> Iterator[_Row]:
    defences: list[Defence | Literal["all"]] = [*bundle.manifest.defences, "all"]
    for defence in defences:
        figures = {
            figure.name: figure
            for figure in evaluation.figures
            if figure.defence == defence and figure.name in COLUMNS
        }
        if figures:
            yield _Row(bundle, threat, defence, figures, evaluation)


def _cell(row: _Row, name: str) -> str:
    figure = row.figures.get(name)
    if figure is None:
        return "–"
    low, high = figure.interval
    return f"{100 * figure.accuracy:.1f} ± {50 * (high - low):.1f}"


def _records(row: _Row) -> Iterator[dict[str, object]]:
    for name, figure in row.figures.items():
        yield {
            "bundle": f"{row.bundle.name}/{row.bundle.version}",
            "defence": row.defence,
            "figure": name,
            "norm": row.threat.norm,
            "epsilon": row.threat.epsilon,
            "accuracy": figure.accuracy,
            "low": figure.interval[0],
            "high": figure.interval[1],
            "images": figure.images,
            "attacks": figure.attack or "",
        }


def _notes(rows: Sequence[_Row]) -> Iterator[str]:
    yield "Accuracy in percent; ± is half of the 95 % interval. Each attack is on every image."
    told = set()
    for row in rows:
        within = f"{row.threat.norm} within {format_budget(row.threat.epsilon)}"
        fact = f"{row.bundle.name}/{row.bundle.version}: {row.bundle.manifest.architecture.name}, {within}; "
        fact += row.evaluation.dataset.rpartition(", digest")[0]
        if fact not in told:
            told.add(fact)
            yield fact
        if row.evaluation.unreliable and row.evaluation.unreliable not in told:
            told.add(row.evaluation.unreliable)
            yield f"{row.bundle.name}, doubts: {row.evaluation.unreliable}"
    for command in _commands(rows):
        yield f"Command: {command}"


def _commands(rows: Sequence[_Row]) -> Iterator[str]:
    """What measures the same again, in one command for all that are measured alike."""
    alike: dict[str, list[str]] = {}
    for row in rows:
        reference = f"{row.bundle.name}/{row.bundle.version}"
        names = alike.setdefault(row.evaluation.command.replace(f" {reference} ", " {} ", 1), [])
        names += [reference] if reference not in names else []
    for command, names in alike.items():
        yield command.replace("{}", " ".join(names), 1) + " --summary"
