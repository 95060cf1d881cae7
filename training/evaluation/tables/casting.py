"""Which of our bundles plays which row, and what has to be measured for each of its cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from holdfast.bundle import WEIGHTS, Bundle, ModelStore, resolve
from holdfast.manifest import ThreatModel
from training.evaluation.line import CLEAN, Line
from training.evaluation.measurement import Measurement
from training.evaluation.tables.table import WHOLE, Column, Player, Row, Source, Table, share_trained
from training.export.facts import public_name


@dataclass(frozen=True)
class Company:
    """The bundles that there are.

    Attributes:
        players: May play a row: the first that fits does.
        sources: May be crafted on, too.
        store: Where names are looked up.
    """

    players: tuple[Bundle, ...]
    sources: tuple[Bundle, ...]
    store: Path

    @classmethod
    def of(cls, named: Sequence[str], store: Path) -> Company:
        """Those that a person names, in that order, or all of the store, the newest first.

        Raises:
            BundleError: One that is named does not exist, or none is and there is no store.
        """
        players = tuple(resolve(name, store) for name in named)
        if players and not store.is_dir():
            return cls(players, players, store)
        shelf = ModelStore(store)
        bundles = [
            shelf.open(name, version, verify=False)
            for name in shelf.names()
            for version in shelf.versions(name)
        ]
        newest = tuple(sorted(bundles, key=lambda one: one.manifest.created, reverse=True))
        return cls(players or newest, (*players, *newest), store)

    def reference(self, bundle: Bundle) -> str:
        """What a line's ``from`` calls a bundle."""
        shelved = self.store / bundle.name / bundle.version
        known = shelved.is_dir() and shelved.samefile(bundle.root)
        return f"{bundle.name}/{bundle.version}" if known else str(bundle.root)


@dataclass(frozen=True)
class Part:
    """A row and the bundle that plays it.

    Attributes:
        row: Of the table.
        bundle: The first that fits; None if none does.
        others: That would fit too, and do not play.
    """

    row: Row
    bundle: Bundle | None
    others: tuple[Bundle, ...] = ()


def cast(table: Table, company: Company) -> list[Part]:
    """Who plays each row of a table.

    A bundle fits if it was trained on the table's data set by the row's method with the row's options, and
    offers the row's defence.
    """
    return [_part(row, table, company) for row in table.rows]


def _part(row: Row, table: Table, company: Company) -> Part:
    fits = [
        bundle
        for bundle in company.players
        if row.player is not None
        and _plays(row.player, bundle, table.dataset)
        and row.defence in bundle.manifest.defences
    ]
    if not fits:
        return Part(row, None)
    fits.sort(key=lambda bundle: share_trained(bundle.manifest) < WHOLE)  # those trained to the end first
    # Whoever is played from another directory is checked there, file by file.
    return Part(row, Bundle.open(fits[0].root), tuple(fits[1:]))


def _plays(player: Player, bundle: Bundle, dataset: str) -> bool:
    return bundle.manifest.dataset.name == dataset and player.fits(bundle.manifest)


@dataclass(frozen=True)
class Planned:
    """What is measured for one cell.

    Attributes:
        lines: As they are run.
        measurements: One for each.
        missing: Why there is nothing to measure; empty if there is, or if nobody plays the row.
    """

    lines: tuple[str, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    missing: str = ""


def plan(
    part: Part, column: Column, table: Table, company: Company, threat: ThreatModel, seed: int = 0
) -> Planned:
    """What to measure for a cell.

    Args:
        part: The row and who plays it.
        column: Of the table.
        table: Whose data set bundles must be of.
        company: Where bundles to craft on are looked for.
        threat: The budget of lines that name none.
        seed: Of all that is random.

    Raises:
        UsageError: A line makes no sense.
    """
    row, bundle = part.row, part.bundle
    if bundle is None:
        return Planned()
    lines = column.lines
    instead = dict(row.lines)
    if column.label in instead:
        line = instead[column.label]
        if line is None:
            return Planned(missing="this attack is not among ours")
        lines = (line,)
    source = row.source or column.source
    crafted = ""
    if source is not None:
        on = _source(source, part, table, company)
        if on is None:
            wanted = row.player if isinstance(source, str) else source
            return Planned(missing=f"there is no other bundle of {wanted and wanted.method} to craft on")
        crafted = f",from={company.reference(on)}"
    elif row.defence != "none" and not row.adaptive:
        crafted = ",from=none"
    texts = tuple(line if line == CLEAN or ",from=" in line else line + crafted for line in lines)
    parsed = [Line.parse(text, threat, seed) for text in texts]
    return Planned(texts, tuple(Measurement(bundle.root, row.defence, line) for line in parsed))


def _source(source: Source, part: Part, table: Table, company: Company) -> Bundle | None:
    """The first that fits and is another network than the one under attack."""
    player = part.row.player if isinstance(source, str) else source
    if part.bundle is None or player is None:
        return None
    own = part.bundle.manifest
    for bundle in company.sources:
        theirs = bundle.manifest
        if (
            _plays(player, bundle, table.dataset)
            and theirs.files[WEIGHTS].sha256 != own.files[WEIGHTS].sha256
            and (theirs.input.shape, theirs.classes) == (own.input.shape, own.classes)
        ):
            return bundle
    return None


def widened(table: Table, lines: Sequence[str]) -> Table:
    """The table with columns of ours, which the paper does not have."""
    more = tuple(Column(line, (line,)) for line in lines if line != CLEAN)
    blank = (None,) * len(more)
    rows = tuple(replace(row, values=(*row.values, *blank)) for row in table.rows)
    return replace(table, columns=(*table.columns, *more), rows=rows)


def on_dataset(table: Table, dataset: str | None) -> Table:
    """The table, to be played on another data set than the paper's."""
    dataset = None if dataset is None else public_name(dataset)
    if dataset is None or dataset == table.dataset:
        return table
    note = f"Played on {dataset}, where the paper has {table.dataset}: compare rows with one another only."
    return replace(table, dataset=dataset, notes=(note, *table.notes))
