"""What a benchmark tells: tables for the terminal and docs/performance.md, and a file with every value."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer

from holdfast.console import stderr, stdout, table
from holdfast.errors import HoldfastError, UsageError


@dataclass
class Sheet:
    """One table with a sentence under it.

    Attributes:
        title: What it shows.
        columns: Their heads; one that begins with ``>`` holds numbers.
        note: How to read it.
        rows: Cells, as text.
    """

    title: str
    columns: Sequence[str]
    note: str = ""
    rows: list[Sequence[str]] = field(default_factory=list)

    def add(self, *cells: str) -> None:
        """Add a row."""
        self.rows.append(cells)

    def print(self) -> None:
        """Show it on the terminal."""
        shown = table(*self.columns, title=self.title)
        for row in self.rows:
            shown.add_row(*row)
        stdout.print(shown)
        stdout.print(self.note, markup=False)
        stdout.print()

    def markdown(self) -> str:
        """The table for a document."""
        lines = [
            f"**{self.title}**",
            "",
            _row([column.removeprefix(">") for column in self.columns]),
            _row(["---:" if column.startswith(">") else "---" for column in self.columns]),
            *map(_row, self.rows),
        ]
        return "\n".join([*lines, "", self.note] if self.note else lines)


@dataclass(frozen=True)
class Report:
    """Everything about one run of a benchmark.

    Attributes:
        name: The script's name, which marks its place in a document.
        facts: What was run where, a line each.
        sheets: The tables.
        content: Every value, for the results' file.
    """

    name: str
    facts: Sequence[str]
    sheets: Sequence[Sheet]
    content: dict[str, Any]

    def print(self) -> None:
        """Show it on the terminal."""
        for fact in self.facts:
            stdout.print(fact, markup=False, soft_wrap=True)
        stdout.print()
        for sheet in self.sheets:
            sheet.print()

    def markdown(self) -> str:
        """The same for a document."""
        facts = "\n".join(f"- {fact}" for fact in self.facts)
        return "\n\n".join([facts, *(sheet.markdown() for sheet in self.sheets)])

    def write_json(self, path: Path) -> None:
        """Write every value to a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.content, indent=1) + "\n", encoding="utf-8")

    def update(self, document: Path) -> None:
        """Replace what stands between this benchmark's marks in a document.

        Raises:
            UsageError: The document has no such marks.
        """
        before, after = find_place(document, self.name)
        document.write_text(f"{before}\n{self.markdown()}\n\n{after}", encoding="utf-8")


def find_place(document: Path, name: str) -> tuple[str, str]:
    """A document's text up to a benchmark's first mark, and from its second one; between is its place.

    To be asked before a long run, too: it would be a pity to find out afterwards.

    Raises:
        UsageError: The document has no such marks.
    """
    begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->"
    text = document.read_text(encoding="utf-8") if document.is_file() else ""
    before, found_begin, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    if not found_begin or not found_end:
        raise UsageError(f"{document} has no place for this: the lines {begin.strip()} and {end}.")
    return before + begin, end + after


def deliver(report: Report, *, markdown: bool, json_path: Path | None, document: Path | None) -> None:
    """Show a report, and write it where it is wanted."""
    if markdown:
        sys.stdout.write(report.markdown() + "\n")
    else:
        report.print()
    if json_path is not None:
        report.write_json(json_path)
    if document is not None:
        report.update(document)


def command_line() -> str:
    """The command that was given, as a reader can repeat it."""
    return shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])


def run(command: Callable[..., None]) -> None:
    """Run a script's function as a command line; an error that is foreseen is told without a trace."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command()(command)
    try:
        app()
    except HoldfastError as error:
        stderr.print(f"Error: {error.message}", markup=False, soft_wrap=True)
        if error.hint:
            stderr.print(f"Hint: {error.hint}", markup=False, soft_wrap=True)
        sys.exit(2 if isinstance(error, UsageError) else 1)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
