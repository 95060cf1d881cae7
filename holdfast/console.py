"""The terminal: results go to standard output, progress and messages to standard error.

Colours are rich's: none where the output is not a terminal or ``NO_COLOR`` is set.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.table import Table

#: In a file or a pipe nothing is there to wrap lines for, so tables are not squeezed into 80 columns.
_PIPED_WIDTH = 200


def _console(*, error: bool) -> Console:
    stream = sys.stderr if error else sys.stdout
    piped = not stream.isatty() and "COLUMNS" not in os.environ
    return Console(stderr=error, highlight=False, width=_PIPED_WIDTH if piped else None)


#: Results: what somebody may want to pipe on.
stdout = _console(error=False)
#: Progress, warnings and errors.
stderr = _console(error=True)


class Progress(Protocol):
    """How a long operation tells how far it is."""

    def advance(self, steps: float = 1, *, note: str | None = None) -> None:
        """Go on by ``steps``; ``note`` replaces the words after the bar, e.g. ``loss 0.31``."""

    def update(self, done: float, *, note: str | None = None) -> None:
        """Set how much is done in all."""


@contextmanager
def progress(
    description: str,
    total: float | None = None,
    *,
    unit: str = "",
    every: float = 10.0,
    quiet: bool = False,
) -> Iterator[Progress]:
    """Show the progress of something long: a bar on a terminal, a line now and then elsewhere.

    Args:
        description: What is being done, e.g. ``Classifying``.
        total: How many steps there are, or None where nobody knows.
        unit: What is counted, e.g. ``images``.
        every: Seconds between two lines where standard error is no terminal.
        quiet: Show nothing: for what is long with much to do and done at once with little.
    """
    if quiet:
        yield _Silence()
        return
    if not stderr.is_terminal:
        lines = _Lines(description, total, unit, every)
        yield lines
        lines.finish()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with RichProgress(*columns, console=stderr, transient=True) as bars:
        yield _Bar(bars, description, total)


class _Silence:
    def advance(self, steps: float = 1, *, note: str | None = None) -> None:
        pass

    def update(self, done: float, *, note: str | None = None) -> None:
        pass


class _Bar:
    def __init__(self, bars: RichProgress, description: str, total: float | None) -> None:
        self._bars = bars
        self._task = bars.add_task(description, total=total, note="")

    def advance(self, steps: float = 1, *, note: str | None = None) -> None:
        self._bars.update(self._task, advance=steps, **_fields(note))

    def update(self, done: float, *, note: str | None = None) -> None:
        self._bars.update(self._task, completed=done, **_fields(note))


def _fields(note: str | None) -> dict[str, Any]:
    return {} if note is None else {"note": note}


class _Lines:
    """Progress as lines, for logs: at most one in ``every`` seconds, and one at the end."""

    def __init__(self, description: str, total: float | None, unit: str, every: float) -> None:
        self._description, self._total, self._unit, self._every = description, total, unit, every
        self._done = 0.0
        self._note = ""
        self._start = self._last = time.monotonic()

    def advance(self, steps: float = 1, *, note: str | None = None) -> None:
        self.update(self._done + steps, note=note)

    def update(self, done: float, *, note: str | None = None) -> None:
        self._done = done
        self._note = self._note if note is None else note
        now = time.monotonic()
        if now - self._last >= self._every:
            self._last = now
            self._print(now)

    def finish(self) -> None:
        self._print(time.monotonic())

    def _print(self, now: float) -> None:
        share = f" ({self._done / self._total:.0%})" if self._total else ""
        of = f" of {self._total:,g}" if self._total else ""
        note = f", {self._note}" if self._note else ""
        unit = f" {self._unit}" if self._unit else ""
        done = f"{math.floor(self._done):,}"
        line = f"{self._description}: {done}{of}{unit}{share}, {now - self._start:.0f} s{note}"
        stderr.print(line, markup=False, soft_wrap=True)


def table(*columns: str, title: str | None = None) -> Table:
    """An empty table in the house's style; a column whose name begins with ``>`` holds numbers."""
    result = Table(
        box=SIMPLE_HEAD,
        title=title,
        title_justify="left",
        title_style="bold",
        caption_justify="left",
        pad_edge=False,
        show_edge=False,
    )
    for name in columns:
        result.add_column(name.removeprefix(">"), justify="right" if name.startswith(">") else "left")
    return result


def print_json(content: Any) -> None:
    """Write JSON to standard output as it is, for other programs: no colours, no wrapping."""
    sys.stdout.write(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def format_share(share: float) -> str:
    """A share as people read it.

    >>> format_share(0.4567)
    '45.7 %'
    """
    return f"{share:.1%}".replace("%", " %")


def format_size(size: int) -> str:
    """A number of bytes as people read it.

    >>> format_size(999), format_size(2_345_678)
    ('999 B', '2.3 MB')
    """
    value = float(size)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"
