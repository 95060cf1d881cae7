"""What became of every request, counted by when it was to begin: the same book on one process and on many.

A request stands under the second in which it was *to begin*, not under that of its answer: what a level of
load does to requests is then counted for that level, also where the answers come long after it. It is entered
when it begins and again when it ends, so what is on its way is known, too.

Worker processes hand over what they have counted every second (:meth:`Ledger.take`), and the master adds it
up (:meth:`Ledger.merge`). Each page of the book is a window of wall-clock time, so machines need the same
time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from fnmatch import fnmatchcase
from typing import Any

from loadtests.histogram import Histogram, add, count, quantile


class Outcome(Enum):
    """How a request ended."""

    #: With the answer that it was to get.
    ANSWERED = "answered"
    #: With another one.
    FAILED = "failed"
    #: With none: the connection broke, or nothing came for longer than anybody waits.
    UNANSWERED = "unanswered"
    #: With 429 or 503 and Retry-After: the server says that it has too much to do, and when to come back.
    REFUSED = "refused"


@dataclass
class Cell:
    """Requests of one name that were to begin in one window, or several such together.

    Attributes:
        begun: All of them.
        answered: Those with the answer that they were to get.
        failed: Those with another one.
        unanswered: Those that ended with none.
        refused: Those that were told to come back later.
        latencies: Of the answered ones.
    """

    begun: int = 0
    answered: int = 0
    failed: int = 0
    unanswered: int = 0
    refused: int = 0
    latencies: Histogram = field(default_factory=dict)

    @property
    def ended(self) -> int:
        """Those that are not on their way any more."""
        return self.answered + self.failed + self.unanswered + self.refused

    @property
    def waiting(self) -> int:
        """Those on their way; never less than none, though reports of workers may cross."""
        return max(0, self.begun - self.ended)

    @property
    def fail_ratio(self) -> float:
        """Failures and unanswered ones, of all that ended and were not refused."""
        served = self.ended - self.refused
        return (self.failed + self.unanswered) / served if served else 0.0

    @property
    def refusal_ratio(self) -> float:
        """Refusals, of all that ended."""
        return self.refused / self.ended if self.ended else 0.0

    def quantile(self, share: float) -> float | None:
        """Milliseconds for a share of the answered ones and those without an answer, which took for ever."""
        return quantile(self.latencies, share, self.unanswered + self.waiting)

    def add(self, other: Cell) -> None:
        """Count those of another cell, too."""
        self.begun += other.begun
        self.answered += other.answered
        self.failed += other.failed
        self.unanswered += other.unanswered
        self.refused += other.refused
        add(self.latencies, other.latencies)


class Ledger:
    """All requests of a run, by window and name.

    Args:
        resolution: Seconds of a window.
    """

    def __init__(self, resolution: float = 1.0) -> None:
        self.resolution = resolution
        self.cells: dict[tuple[int, str], Cell] = {}
        #: How late requests of the open workload were sent: what the load generator itself adds.
        self.lateness: Histogram = {}
        #: Requests that ended, of all names.
        self.ended = 0

    def begin(self, name: str, wall: float) -> None:
        """A request is to begin.

        Args:
            name: What it is called.
            wall: When, in seconds since the epoch.
        """
        self._cell(name, wall).begun += 1

    def end(self, name: str, wall: float, outcome: Outcome, milliseconds: float = 0.0) -> None:
        """A request has ended.

        Args:
            name: As when it began.
            wall: When it was to begin: the same value as then.
            outcome: How it ended.
            milliseconds: From when it was to begin to its answer.
        """
        cell = self._cell(name, wall)
        self.ended += 1
        if outcome is Outcome.ANSWERED:
            cell.answered += 1
            count(cell.latencies, milliseconds)
        elif outcome is Outcome.FAILED:
            cell.failed += 1
        elif outcome is Outcome.UNANSWERED:
            cell.unanswered += 1
        else:
            cell.refused += 1

    def late(self, milliseconds: float) -> None:
        """A request was sent so long after it was to be."""
        count(self.lateness, milliseconds)

    def close(self, *, unanswered: bool) -> None:
        """The run is over; nothing is on its way any more.

        Args:
            unanswered: Whether what was counts as such: it had its time. Else it was called off, and never
                was.
        """
        for cell in self.cells.values():
            waiting = cell.waiting
            if unanswered:
                cell.unanswered += waiting
                self.ended += waiting
            else:
                cell.begun -= waiting

    def names(self) -> list[str]:
        """Everything that was asked, in order."""
        return sorted({name for _, name in self.cells})

    def total(self, pattern: str = "*", since: float = 0.0, until: float = float("inf")) -> Cell:
        """All requests of some names in some time.

        Args:
            pattern: A name; ``*`` stands for anything.
            since: Seconds since the epoch; only windows that begin no earlier.
            until: Only windows that end no later.
        """
        found = Cell()
        for (window, name), cell in self.cells.items():
            inside = window * self.resolution >= since and (window + 1) * self.resolution <= until
            if inside and fnmatchcase(name, pattern):
                found.add(cell)
        return found

    def span(self) -> tuple[float, float]:
        """When the first window began and the last one ended; (0, 0) where there is none."""
        windows = [window for window, _ in self.cells]
        if not windows:
            return 0.0, 0.0
        return min(windows) * self.resolution, (max(windows) + 1) * self.resolution

    def seconds(self, since: float, until: float) -> float:
        """How many seconds of whole windows lie between two times."""
        first, last = math.ceil(since / self.resolution), math.floor(until / self.resolution)
        return max(0, last - first) * self.resolution

    def take(self) -> dict[str, Any]:
        """What was counted since the last time, as plain values; it is gone from here then."""
        report = {
            "resolution": self.resolution,
            "cells": [
                [window, name, c.begun, c.answered, c.failed, c.unanswered, c.refused, c.latencies]
                for (window, name), c in self.cells.items()
            ],
            "lateness": self.lateness,
        }
        self.cells, self.lateness, self.ended = {}, {}, 0
        return report

    def merge(self, report: dict[str, Any]) -> None:
        """Add what another process counted.

        Raises:
            ValueError: It counted by other windows.
        """
        if report["resolution"] != self.resolution:
            raise ValueError(f"A report in windows of {report['resolution']} s, not {self.resolution} s.")
        for window, name, *counts in report["cells"]:
            cell = Cell(*counts)
            self.cells.setdefault((window, name), Cell()).add(cell)
            self.ended += cell.ended
        add(self.lateness, report["lateness"])

    def __iter__(self) -> Iterator[tuple[str, Cell]]:
        """Each name with all of its requests, in order."""
        for name in self.names():
            found = Cell()
            for (_, other), cell in self.cells.items():
                if other == name:
                    found.add(cell)
            yield name, found

    def _cell(self, name: str, wall: float) -> Cell:
        return self.cells.setdefault((int(wall // self.resolution), name), Cell())
