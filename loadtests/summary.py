"""What a run came to: for people, and as JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from loadtests.histogram import quantile
from loadtests.knee import Knee, Level, find_knee, measure
from loadtests.ledger import Cell
from loadtests.options import Options
from loadtests.session import Session
from loadtests.thresholds import over


@dataclass(frozen=True)
class Summary:
    """What a run came to.

    Attributes:
        options: What was chosen.
        seconds: From the first request to the last.
        rows: By name, all requests; the last is of all names together.
        levels: By stage of the run, what it came to; only where there were several.
        knee: Where the server is full, where the load went up in steps.
        drift: Of a soak, the p99 of its last quarter over that of its first.
        lateness: Of the open workload, milliseconds within which 99 % of the requests were sent.
        ended_early: Why the run ended before its time, if it did.
        faults: What fails the run, as sentences.
    """

    options: Options
    seconds: float
    rows: list[tuple[str, Cell]]
    levels: list[Level]
    knee: Knee | None
    drift: float | None
    lateness: float | None
    ended_early: str
    faults: list[str]

    @property
    def unit(self) -> str:
        """What load is counted in."""
        return "arrivals/s" if self.options.is_open else "users"

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        limits = self.options.limits
        return {
            "workload": self.options.workload,
            "shape": self.options.shape,
            "unit_of_load": self.unit,
            "load": self.options.load(self.options.users),
            "seconds": self.seconds,
            "requests": [_row_as_json(name, cell, self.seconds) for name, cell in self.rows],
            "levels": [level.as_json() for level in self.levels],
            "knee": self.knee
            and {
                "p99_limit_ms": limits.p99,
                "lost_limit": limits.fail_ratio,
                "of": limits.pattern,
                "level": self.knee.level and self.knee.level.as_json(),
                "beyond": self.knee.beyond and self.knee.beyond.as_json(),
            },
            "p99_drift": self.drift,
            "sent_late_p99_ms": self.lateness,
            "ended_early": self.ended_early,
            "passed": not self.faults,
            "faults": self.faults,
        }

    def as_text(self) -> str:
        """A page for a terminal."""
        options = self.options
        lines = [
            "",
            f"{options.workload.capitalize()} workload, shape {options.shape}, up to "
            f"{options.load(options.users):g} {self.unit}, {self.seconds:.0f} s. Latencies in milliseconds, "
            + ("from when a request was to be sent." if options.is_open else "from when it was sent."),
            "",
            *_table(
                ("", "requests", "failed", "refused", "per s", "p50", "p95", "p99"),
                [_row(name, cell, self.seconds) for name, cell in self.rows],
            ),
        ]
        if self.lateness is not None:
            lines += ["", f"99 % were sent within {self.lateness:.1f} ms of when they were to be."]
        if self.drift is not None:
            lines += ["", f"p99 of the last quarter over that of the first: {self.drift:.2f}."]
        if len(self.levels) > 1:
            lines += [
                "",
                *_table(
                    (self.unit, "requests", "in time/s", "p50", "p99", "lost", ""),
                    [_level(level) for level in self.levels],
                ),
            ]
        if self.knee is not None:
            lines += ["", self._describe_knee(self.knee)]
        if self.ended_early:
            lines += ["", self.ended_early]
        lines += ["", "Passed." if not self.faults else "Failed:", *(f"  {fault}" for fault in self.faults)]
        return "\n".join(lines) + "\n"

    def _describe_knee(self, knee: Knee) -> str:
        limits = self.options.limits
        whose = "" if limits.pattern == "*" else f" of '{limits.pattern}'"
        kept = f"p99{whose} within {limits.p99:g} ms and at most {limits.fail_ratio:.1%} lost"
        if knee.level is None:
            return f"Knee: none. The lowest level already goes beyond {kept}."
        found = f"{knee.level.load:g} {self.unit}, {knee.level.per_second:.1f} answered in time per second"
        if knee.beyond is None:
            return f"Knee: not reached. At {found}, the highest level, {kept} holds."
        return f"Knee: {found}, is the most with {kept}; {knee.beyond.load:g} {self.unit} is too much."


def summarise(session: Session) -> Summary:
    """What the run of this process came to, with what its workers reported; it is over."""
    options, ledger = session.options, session.ledger
    ledger.close(unanswered=not session.course.called_off)
    limits = options.limits
    periods = session.course.periods()
    levels = [level for period in periods if (level := measure(ledger, period, limits)) is not None]
    began, ended = ledger.span()
    faults = list(session.memory.contradictions)
    faults += [session.error] if session.error else over(options.thresholds, ledger)
    lateness = quantile(ledger.lateness, 0.99) if options.is_open else None
    return Summary(
        options=options,
        seconds=ended - began,
        rows=[*ledger, ("all", ledger.total())],
        levels=levels if len(periods) > 1 else [],
        knee=find_knee(levels) if options.shape == "steps" else None,
        drift=_drift(session, began, ended) if options.shape == "soak" else None,
        lateness=lateness,
        ended_early=session.course.ended_early,
        faults=faults,
    )


def _drift(session: Session, began: float, ended: float) -> float | None:
    quarter = (ended - began) / 4
    first = session.ledger.total("*", began, began + quarter).quantile(0.99)
    last = session.ledger.total("*", ended - quarter, ended).quantile(0.99)
    if first is None or last is None or not math.isfinite(first + last):
        return None
    return last / first


def _milliseconds(value: float | None) -> str:
    if value is None:
        return "–"
    if not math.isfinite(value):
        return "never"
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def _row(name: str, cell: Cell, seconds: float) -> tuple[str, ...]:
    lost = cell.failed + cell.unanswered
    quantiles = (_milliseconds(cell.quantile(share)) for share in (0.5, 0.95, 0.99))
    per_second = cell.answered / seconds if seconds else 0.0
    return name, f"{cell.ended:,}", f"{lost:,}", f"{cell.refused:,}", f"{per_second:.1f}", *quantiles


def _row_as_json(name: str, cell: Cell, seconds: float) -> dict[str, Any]:
    found = {f"p{share:g}": cell.quantile(share / 100) for share in (50, 95, 99)}
    return {
        "name": name,
        "requests": cell.ended,
        "answered": cell.answered,
        "failed": cell.failed,
        "unanswered": cell.unanswered,
        "refused": cell.refused,
        "fail_ratio": cell.fail_ratio,
        "refusal_ratio": cell.refusal_ratio,
        "per_second": cell.answered / seconds if seconds else 0.0,
        **{
            key: value if value is not None and math.isfinite(value) else None for key, value in found.items()
        },
    }


def _level(level: Level) -> tuple[str, ...]:
    return (
        f"{level.load:g}",
        f"{level.requests:,}",
        f"{level.per_second:.1f}",
        _milliseconds(level.p50),
        _milliseconds(level.p99),
        f"{level.lost:.1%}",
        "" if level.within else "too much",
    )


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]
        )
        for row in (head, *rows)
    ]
    return [lines[0].rstrip(), "─" * len(lines[0]), *(line.rstrip() for line in lines[1:])]
