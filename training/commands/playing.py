"""What ``holdfast evaluate --table`` does: cast the papers' tables, measure, and put ours beside theirs."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from holdfast import console
from holdfast.bundle import Bundle
from holdfast.errors import UsageError
from holdfast.manifest import ThreatModel
from training.commands.comparing import show
from training.commands.measuring import Plan, Request
from training.evaluation.line import Line
from training.evaluation.measurement import Bench, Measurement
from training.evaluation.outcome import Outcome
from training.evaluation.subject import threat_within
from training.evaluation.tables import find
from training.evaluation.tables.casting import Company, Part, Planned, cast, on_dataset, plan, widened
from training.evaluation.tables.features import Analyst
from training.evaluation.tables.filling import Cell, Filled, Ours, Played, fill, measured
from training.evaluation.tables.table import WHOLE, Column, Quantity, Table, share_trained

#: Cells that look at features instead of outcomes.
_FEATURES: tuple[Quantity, ...] = ("match rate", "cosine")


def play(request: Request) -> None:
    """Measure what the tables need, print them, and write the figures into the bundles.

    Raises:
        HoldfastError: A table, a bundle, the data or an argument cannot be used.
    """
    if request.headline or request.defences or request.summary:
        raise UsageError(
            "A table has rows, attacks and defences of its own: "
            "--headline, --defence and --summary do not go with --table.",
            hint="--attack adds a column.",
        )
    tables = list(dict.fromkeys(table for name in request.tables for table in find(name)))
    company = Company.of(request.bundles, request.store)
    sheets = [_Sheet.of(table, company, request) for table in tables]
    needs: dict[_Key, _Needs] = {}
    for sheet in sheets:
        sheet.add_to(needs)
    # All that can be refused is refused before the first hour is spent.
    found = {key: _Measured.of(key, need, request) for key, need in needs.items()}
    for each in found.values():
        each.run(request)
    show([sheet.filled(found, company, request) for sheet in sheets], request.layout)


#: A bundle's directory, and the budget that it is attacked within.
_Key = tuple[Path, ThreatModel]


@dataclass
class _Needs:
    """What all tables need of one bundle within one budget: outcomes, and features to look at."""

    bundle: Bundle
    measurements: list[Measurement] = field(default_factory=list)
    analyses: list[tuple[Quantity, Line]] = field(default_factory=list)


@dataclass
class _Measured:
    """What was found of one bundle within one budget.

    Attributes:
        plan: What is measured.
        analyses: Features to look at, beside.
        outcomes: Once they are known.
        found: The same of the analyses.
    """

    plan: Plan
    analyses: list[tuple[Quantity, Line]]
    outcomes: dict[Measurement, Outcome] = field(default_factory=dict)
    found: dict[tuple[Quantity, Line], Ours] = field(default_factory=dict)

    @classmethod
    def of(cls, key: _Key, needs: _Needs, request: Request) -> _Measured:
        plan = Plan.made(needs.bundle, request, key[1], needs.measurements)
        return cls(plan, list(dict.fromkeys(needs.analyses)))

    def run(self, request: Request) -> None:
        plan = self.plan
        if plan.measurements:
            self.outcomes = plan.measure()
            plan.record(self.outcomes)
        if not self.analyses:
            return
        bench = Bench(request.store, request.threads)
        analyst = Analyst(plan.bundle, plan.loaded, request.ledgers, bench, request.batch_size, request.again)
        images = len(plan.loaded.split)
        name = f"Looking at {plan.bundle.name}'s features"
        with console.progress(name, images * len(self.analyses), unit="images") as bar:
            for done, (quantity, line) in enumerate(self.analyses):
                bar.update(done * images, note=line.name)
                self.found[quantity, line] = analyst.measure(quantity, line, bar.advance)


@dataclass(frozen=True)
class _Sheet:
    """A table, cast and planned.

    Attributes:
        table: On the data set that it is played on, with all columns.
        threat: The budget.
        parts: For each row.
        planned: For each row, for each column.
    """

    table: Table
    threat: ThreatModel
    parts: list[Part]
    planned: list[list[Planned]]

    @classmethod
    def of(cls, table: Table, company: Company, request: Request) -> _Sheet:
        played = widened(on_dataset(table, request.data), request.attacks or ())
        threat = _threat(table, request)
        parts = cast(played, company)
        planned = [
            [plan(part, column, played, company, threat, request.seed) for column in played.columns]
            for part in parts
        ]
        if not any(part.bundle for part in parts):
            methods = dict.fromkeys(row.player.method for row in played.rows if row.player)
            needed = f"{', '.join(methods)} on {played.dataset}"
            console.stderr.print(
                f"{table.name}: no bundle plays a row; it needs one of {needed}.", markup=False
            )
        return cls(played, threat, parts, planned)

    def add_to(self, needs: dict[_Key, _Needs]) -> None:
        """Add what this table needs of each bundle."""
        for part, planned in zip(self.parts, self.planned, strict=True):
            if part.bundle is None:
                continue
            need = needs.setdefault((part.bundle.root, self.threat), _Needs(part.bundle))
            for column, one in zip(self.table.columns, planned, strict=True):
                if column.quantity in _FEATURES:
                    need.analyses += [(column.quantity, what.line) for what in one.measurements]
                else:
                    need.measurements += one.measurements

    def filled(self, found: dict[_Key, _Measured], company: Company, request: Request) -> Filled:
        """With all that was measured."""
        rows = []
        for part, planned in zip(self.parts, self.planned, strict=True):
            known = found[part.bundle.root, self.threat] if part.bundle else None
            cells = self._cells(part, planned, known)
            if known is None:
                rows.append(Played(part, tuple(cells)))
            else:
                doubts = tuple(self._doubts(part, known))
                rows.append(Played(part, tuple(cells), known.plan.loaded.words, doubts))
        return Filled(self.table, self.threat, tuple(rows), self._command(company, request))

    def _doubts(self, part: Part, known: _Measured) -> Iterator[str]:
        """Why not to believe a bundle behind a defence: what all attacks of this table show on it."""
        share = share_trained(known.plan.bundle.manifest)
        if share < WHOLE:
            yield f"trained for {share:.0%} of its epochs"
        own = {what for planned in self.planned for one in planned for what in one.measurements}
        yield from known.plan.doubts(
            {
                what: outcome
                for what, outcome in known.outcomes.items()
                if what in own and what.defence == part.row.defence
            }
        )

    def _command(self, company: Company, request: Request) -> str:
        """What makes this table again, even once the store has newer bundles."""
        played = dict.fromkeys(company.reference(part.bundle) for part in self.parts if part.bundle)
        if not played:
            return ""
        names = request.bundles or played
        parts = ["holdfast", "evaluate", *names, "--table", self.table.name]
        parts += [word for line in request.attacks or () for word in ("--attack", line)]
        for option in ("epsilon", "norm", "images", "data"):
            value = getattr(request, option)
            parts += [] if value is None else [f"--{option}", str(value)]
        return shlex.join([*parts, "--seed", str(request.seed)])

    def _cells(self, part: Part, planned: Sequence[Planned], known: _Measured | None) -> list[Cell]:
        cells = []
        for column, published, one in zip(self.table.columns, part.row.values, planned, strict=True):
            ours = None if known is None else _ours(column, one, known)
            cells.append(fill(column, published, one, ours))
        return cells


def _ours(column: Column, planned: Planned, known: _Measured) -> Ours | None:
    if column.quantity not in _FEATURES:
        return measured(column, planned, known.outcomes)
    found = [known.found[column.quantity, what.line] for what in planned.measurements]
    return found[0] if found else None


def _threat(table: Table, request: Request) -> ThreatModel:
    return threat_within(table.threat, request.epsilon, request.norm)
