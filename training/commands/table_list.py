"""What ``holdfast evaluate --tables`` shows: the papers' tables, and what each needs."""

from __future__ import annotations

from pathlib import Path

from rich.markup import escape

from holdfast import console
from training.evaluation.line import Line
from training.evaluation.tables import TABLES
from training.evaluation.tables.casting import Company, cast
from training.evaluation.tables.table import Table

#: Targeted attacks go through all of them.
_CLASSES = {"cifar100": 100}


def list_tables(store: Path, *, json: bool) -> None:
    """Print all tables: what they show, the bundles that they need, and the passes that an image costs."""
    company = Company.of([], store) if store.is_dir() else Company((), (), store)
    found = [(each, sum(part.bundle is not None for part in cast(each, company))) for each in TABLES]
    if json:
        console.print_json([_plain(each, played) for each, played in found])
        return
    shown = console.table("table", "what", "data set", "methods", ">rows", ">in the store", ">passes")
    for each, played in found:
        shown.add_row(
            each.name,
            escape(f"{each.title}\n{each.source}"),
            each.dataset,
            ", ".join(_methods(each)),
            str(len(each.rows)),
            str(played),
            f"{_passes(each):,}",
        )
    console.stdout.print(shown)
    console.stdout.print(
        "rows: of the table; in the store: those that a bundle plays; passes: forward and backward, at most, "
        "for an image of one row.\nA number alone takes all its parts (--table mat-2), a paper all its "
        "tables (--table atld).",
        soft_wrap=True,
    )


def _methods(table: Table) -> list[str]:
    return list(dict.fromkeys(row.player.method for row in table.rows if row.player))


def _passes(table: Table) -> int:
    classes = _CLASSES.get(table.dataset, 10)
    return sum(
        Line.parse(line, table.threat).passes(classes) for column in table.columns for line in column.lines
    )


def _plain(table: Table, played: int) -> dict[str, object]:
    return {
        "name": table.name,
        "title": table.title,
        "source": table.source,
        "dataset": table.dataset,
        "needs": list(dict.fromkeys(str(row.player) for row in table.rows if row.player)),
        "rows": len(table.rows),
        "played": played,
        "passes": _passes(table),
    }
