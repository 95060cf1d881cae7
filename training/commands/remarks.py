"""What is said under a paper's table: who plays, what is missing, what to doubt, and what differs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from holdfast.bundle import Bundle
from training.evaluation.tables.filling import Filled, Played


def remarks(filled: Filled) -> Iterator[str]:
    """Who plays, what is missing, what to doubt, and what differs."""
    if any(cell.ours for played in filled.rows for cell in played.cells):
        yield (
            "± is half of the 95 % interval for the number of images; a difference is ours − theirs, "
            "in brackets where theirs is within that interval."
        )
    for column in filled.table.columns:
        if len(column.lines) > 1:
            yield f"{column.name}: held under each of {', '.join(column.lines)}, which all see every image."
    yield from _grouped((_who(played), played.part.row.label) for played in filled.rows)
    yield from _grouped(
        (f"{', '.join(names)}: {reason}.", played.part.row.label)
        for played in filled.rows
        for reason, names in _missing(played).items()
    )
    yield from _grouped(
        (f"doubts: {'; '.join(played.doubts)}.", played.part.row.label)
        for played in filled.rows
        if played.doubts
    )
    yield from filled.table.notes
    if filled.command:
        yield f"Command: {filled.command}"


def _grouped(said: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Each thing that is said once, after the labels of all rows that it is said of."""
    labels: dict[str, list[str]] = {}
    for what, label in said:
        labels.setdefault(what, []).append(label)
    yield from (f"{'; '.join(of)}: {what}" for what, of in labels.items() if what)


def _who(played: Played) -> str:
    """Who plays the row; nothing where nobody does."""
    bundle, row = played.part.bundle, played.part.row
    if bundle is None:
        return ""
    behind = "" if row.defence == "none" else f" behind {row.defence}"
    others = ", ".join(map(reference, played.part.others))
    also = f"; {others} would fit too" if others else ""
    return f"{reference(bundle)}{behind}, {network(bundle)}; {played.images}{also}."


def _missing(played: Played) -> dict[str, list[str]]:
    """The columns that nothing could be measured for, by the reason; a group that lacks all by its name."""
    found: dict[str, list[str]] = {}
    groups = Counter(cell.column.group for cell in played.cells)
    lacking = Counter((cell.column.group, cell.missing) for cell in played.cells)
    for cell in played.cells:
        group = cell.column.group
        if cell.missing:
            whole = group and lacking[group, cell.missing] == groups[group]
            names = found.setdefault(cell.missing, [])
            names += [name for name in [group if whole else cell.column.name] if name not in names]
    return found


def reference(bundle: Bundle) -> str:
    """How tables name a bundle."""
    return f"{bundle.name}/{bundle.version}"


def network(bundle: Bundle) -> str:
    """The name of a bundle's architecture."""
    return bundle.manifest.architecture.name
