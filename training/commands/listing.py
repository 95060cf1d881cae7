"""What ``holdfast train --list`` shows: the methods, their papers, their recipes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from holdfast import console
from training import methods, recipe
from training.methods.method import Paper
from training.recipe import Recipe


@dataclass(frozen=True)
class Entry:
    """A method with what was written about it and the recipes that use it.

    Attributes:
        name: As recipes call it.
        paper: Where it was published, if anywhere.
        recipes: Those that come with Holdfast.
    """

    name: str
    paper: Paper | None
    recipes: list[Recipe]


def survey() -> list[Entry]:
    """All methods, by name."""
    recipes = [recipe.load(name) for name in recipe.shipped()]
    return [
        Entry(
            name,
            methods.find(name).paper,
            [entry for entry in recipes if entry.method["name"] == name],
        )
        for name in methods.names()
    ]


def list_methods(*, json: bool) -> None:
    """Print all methods with their papers and recipes."""
    entries = survey()
    if json:
        console.print_json([_plain(entry) for entry in entries])
        return
    rows = {entry.name: [_row(item) for item in entry.recipes] for entry in entries}
    every = [row for some in rows.values() for row in some]
    widths = [max(len(row[column]) for row in every) for column in range(len(every[0]))]
    for entry in entries:
        heading = Text(entry.name, style="bold").append(f"  {_cite(entry.paper)}", style="not bold")
        console.stdout.print(heading)
        console.stdout.print(Padding(_table(rows[entry.name], widths), (0, 0, 0, 2), expand=False))
        console.stdout.print()


def _row(item: Recipe) -> list[str]:
    return [item.name, item.dataset.name, item.model.architecture, f"{item.epochs} epochs"]


def _table(rows: list[list[str]], widths: list[int]) -> Table:
    """Rows in columns as wide as those of every other method."""
    grid = Table.grid(padding=(0, 3, 0, 0))
    for number, width in enumerate(widths):
        grid.add_column(min_width=width, justify="right" if number == len(widths) - 1 else "left")
    for row in rows:
        grid.add_row(*(Text(cell) for cell in row))
    return grid


def _cite(paper: Paper | None) -> str:
    return f"{paper.authors} {paper.year}, {paper.title} ({paper.venue})" if paper else "no paper"


def _plain(entry: Entry) -> dict[str, Any]:
    return {
        "method": entry.name,
        "paper": asdict(entry.paper) if entry.paper else None,
        "recipes": [
            {
                "name": item.name,
                "dataset": item.dataset.name,
                "architecture": item.model.architecture,
                "epochs": item.epochs,
                "source": item.source,
            }
            for item in entry.recipes
        ],
    }
