"""What the figures have in common: colours, axes, and how they are written."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Lines and two classes: told apart with any colour vision (a test holds them to it), and in order of use.
COLOURS = ("#2b6cb0", "#dd6b20", "#1a202c", "#5cc8ea", "#7a3b12", "#cfb87c", "#8d99a6")
#: Up to ten classes, after Paul Tol's "muted" scheme; ten are too many for colour alone, so name them, too.
CLASSES = (
    "#332288",
    "#88ccee",
    "#44aa99",
    "#117733",
    "#999933",
    "#ddcc77",
    "#cc6677",
    "#882255",
    "#aa4499",
    "#1a202c",
)
INK = "#1a202c"
_GRID = "#d5dae1"
_DPI = 110


@dataclass(frozen=True)
class Table:
    """The numbers behind a figure, one row for each point.

    Attributes:
        columns: Names.
        rows: In the order in which they are drawn.
    """

    columns: tuple[str, ...]
    rows: list[tuple[object, ...]]


def pyplot() -> Any:
    """Matplotlib's pyplot, which draws without a screen and writes the same figure as the same bytes."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "holdfast"
    from matplotlib import pyplot as module

    return module


def new_figure(**options: Any) -> tuple[Any, Any]:
    """A figure and its axes, as ``pyplot.subplots`` gives them.

    Args:
        **options: Of ``pyplot.subplots``.
    """
    return pyplot().subplots(**({"layout": "constrained"} | options))  # type: ignore[no-any-return]


def plain(axis: Axes) -> None:
    """Nothing around the data but two axes and a light grid."""
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    axis.grid(color=_GRID, linewidth=0.6)
    axis.set_axisbelow(True)


def save(figure: Any, directory: Path, name: str) -> None:
    """Write NAME.png and NAME.svg; the same figure gives the same bytes."""
    directory.mkdir(parents=True, exist_ok=True)
    figure.savefig(directory / f"{name}.png", dpi=_DPI, metadata={"Software": None})
    figure.savefig(directory / f"{name}.svg", metadata={"Date": None})
    pyplot().close(figure)


def save_numbers(directory: Path, name: str, content: Any, table: Table) -> None:
    """Write NAME.json and NAME.csv, the numbers behind a figure.

    Args:
        directory: It is made where it is not there.
        name: The figure's.
        content: A dataclass, all that the figure shows.
        table: The same for a spreadsheet.
    """
    directory.mkdir(parents=True, exist_ok=True)
    text = json.dumps(asdict(content), indent=1, ensure_ascii=False)
    (directory / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    with (directory / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(table.columns)
        writer.writerows(table.rows)


def marks(count: int) -> Sequence[str]:
    """Markers for so many kinds of line, repeated where there are more than markers."""
    return ["o^sDvPX"[index % 7] for index in range(count)]


def dashes(count: int) -> Sequence[Any]:
    """Line styles for so many kinds of line."""
    styles: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (4, 1, 1, 1)))
    return [styles[index % len(styles)] for index in range(count)]
