"""How ``holdfast evaluate --table`` prints a paper's table with ours beside it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

from rich.markup import escape

from holdfast import console
from holdfast.units import format_budget
from training.commands.remarks import network, reference, remarks
from training.evaluation.tables.filling import Cell, Filled, Ours, Played
from training.evaluation.tables.table import Column

_FIELDS = (
    "table",
    "row",
    "column",
    "quantity",
    "defence",
    "attack",
    "paper",
    "ours",
    "low",
    "high",
    "difference",
    "deviation",
    "images",
    "bundle",
    "network",
    "remark",
)


def show(tables: Sequence[Filled], layout: str) -> None:
    """Print tables.

    Args:
        tables: With what was measured.
        layout: One of :data:`training.commands.tabulating.LAYOUTS`.
    """
    if layout == "json":
        console.print_json([_plain(filled) for filled in tables])
    elif layout == "csv":
        text = io.StringIO()
        writer = csv.DictWriter(text, _FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(record for filled in tables for record in _records(filled))
        _print(text.getvalue().removesuffix("\n"))
    else:
        for filled in tables:
            _print("\n".join(_markdown(filled))) if layout == "markdown" else _text(filled)


def _print(text: str) -> None:
    console.stdout.print(text, soft_wrap=True, markup=False, highlight=False)


def _text(filled: Filled) -> None:
    console.stdout.print(f"[bold]{escape(_title(filled))}[/]", soft_wrap=True)
    heads = [_head(column) for column in filled.table.columns]
    lines = [line for played in filled.rows for line in _lines(played)]
    for first, last in _blocks(heads, lines, console.stdout.width):
        table = console.table("", "", *(f">{escape(head)}" for head in heads[first:last]))
        for line in lines:
            table.add_row(*map(escape, [*line[:2], *line[2 + first : 2 + last]]))
        console.stdout.print(table)
    for remark in remarks(filled):
        _print(remark)
    _print("")


def _blocks(heads: Sequence[str], lines: Sequence[Sequence[str]], width: int) -> Iterator[tuple[int, int]]:
    """Which columns fit beside one another: a number that is cut off would be another number."""
    columns = list(zip(*lines, strict=True))
    needed = [max(map(len, column)) + 3 for column in columns]
    labels = sum(needed[:2])
    first, used = 0, labels
    for place, head in enumerate(heads):
        wide = max(needed[2 + place], max(map(len, head.split())) + 3)
        if used + wide > width and place > first:
            yield first, place
            first, used = place, labels
        used += wide
    yield first, len(heads)


def _markdown(filled: Filled) -> Iterator[str]:
    heads = [_head(column).replace("*", r"\*") for column in filled.table.columns]
    yield f"**{_title(filled)}**"
    yield ""
    yield f"| | | {' | '.join(heads)} |"
    yield f"|---|---|{'---:|' * len(heads)}"
    for played in filled.rows:
        for line in _lines(played):
            cells = " | ".join(line).replace("*", r"\*")
            yield f"| {cells} |"
    yield ""
    for remark in remarks(filled):
        yield f"- {remark}".replace("*", r"\*")
    yield ""


def _title(filled: Filled) -> str:
    table, threat = filled.table, filled.threat
    within = f"{table.dataset}, {threat.norm} within {format_budget(threat.epsilon)}"
    return f"{table.name}: {table.title}. {table.source}; {within}"


def _head(column: Column) -> str:
    worst = f", worst of {len(column.lines)}" if len(column.lines) > 1 else ""
    unit = {"accuracy": ", %", "match rate": ", %", "norm": ", norm", "cosine": ""}[column.quantity]
    return column.name + worst + unit


def _lines(played: Played) -> Iterator[list[str]]:
    """Theirs, where they have any, and where the row is played ours and the difference."""
    label, bundle = played.part.row.label, played.part.bundle
    if any(cell.published for cell in played.cells):
        yield [label, "paper", *(cell.published.text if cell.published else "" for cell in played.cells)]
        label = ""
    if bundle is not None:
        yield [label, reference(bundle), *(_shown(cell) for cell in played.cells)]
        if any(cell.difference is not None for cell in played.cells):
            yield ["", "difference", *(_difference(cell) for cell in played.cells)]


def _shown(cell: Cell) -> str:
    ours = cell.ours
    if ours is None:
        return "–"
    if ours.deviation is not None:
        return f"{ours.value:.3f} ± {ours.deviation:.3f} ({ours.low:.3f} to {ours.high:.3f})"
    return f"{_number(cell, ours.value)} ±{_number(cell, ours.half_width)}"


def _difference(cell: Cell) -> str:
    if cell.difference is None:
        return ""
    size = _number(cell, abs(cell.difference))
    sign = "" if float(size) == 0 else "+" if cell.difference > 0 else "−"
    return sign + size if cell.settled else f"({sign}{size})"


def _number(cell: Cell, value: float) -> str:
    return f"{value:.1f}" if cell.column.quantity in ("accuracy", "match rate") else f"{value:.3f}"


def _records(filled: Filled) -> Iterator[dict[str, Any]]:
    for played in filled.rows:
        bundle = played.part.bundle
        for cell in played.cells:
            ours = _measured(cell.ours)
            value, flags = ours.pop("value", None), ours.pop("flags", [])
            yield ours | {
                "ours": value,
                "table": filled.table.name,
                "row": played.part.row.label,
                "column": cell.column.name,
                "quantity": cell.column.quantity,
                "defence": played.part.row.defence,
                "attack": " + ".join(cell.lines),
                "paper": cell.published.text if cell.published else "",
                "difference": _exact(cell.difference),
                "bundle": reference(bundle) if bundle else "",
                "network": network(bundle) if bundle else "",
                "remark": "; ".join([*flags, *([cell.missing] if cell.missing else [])]),
            }


def _measured(ours: Ours | None) -> dict[str, Any]:
    if ours is None:
        return {}
    return {
        "value": _exact(ours.value),
        "low": _exact(ours.low),
        "high": _exact(ours.high),
        "deviation": _exact(ours.deviation),
        "images": ours.images,
        "flags": list(ours.flags),
    }


def _plain(filled: Filled) -> dict[str, Any]:
    table = filled.table
    return {
        "name": table.name,
        "title": table.title,
        "source": table.source,
        "dataset": table.dataset,
        "threat_model": filled.threat.model_dump(mode="json"),
        "notes": list(table.notes),
        "command": filled.command or None,
        "rows": [
            {
                "label": played.part.row.label,
                "bundle": reference(played.part.bundle) if played.part.bundle else None,
                "network": network(played.part.bundle) if played.part.bundle else None,
                "images": played.images or None,
                "defence": played.part.row.defence,
                "others": [reference(other) for other in played.part.others],
                "doubts": list(played.doubts),
                "cells": [_cell(cell) for cell in played.cells],
            }
            for played in filled.rows
        ],
    }


def _cell(cell: Cell) -> dict[str, Any]:
    published = cell.published
    return {
        "column": cell.column.name,
        "quantity": cell.column.quantity,
        "attack": list(cell.lines),
        "paper": published
        and {"value": published.value, "deviation": published.deviation, "at_most": published.at_most},
        "ours": _measured(cell.ours) or None,
        "difference": _exact(cell.difference),
        "missing": cell.missing or None,
    }


def _exact(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")
