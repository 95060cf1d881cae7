"""The papers' tables, by the names that ``holdfast evaluate --table`` takes."""

from __future__ import annotations

from holdfast.errors import UsageError
from training.evaluation.tables import atld, feature_scattering, fs_gan, mat, slides
from training.evaluation.tables.table import Table

__all__ = ["TABLES", "Table", "find"]

#: In the papers' order. Names begin with the paper's; only FS-GAN's has a dash in it.
_PAPERS: dict[str, tuple[Table, ...]] = {
    "fs": feature_scattering.TABLES,
    "slides": slides.TABLES,
    "mat": mat.TABLES,
    "fs-gan": fs_gan.TABLES,
    "atld": atld.TABLES,
}
TABLES: tuple[Table, ...] = tuple(table for tables in _PAPERS.values() for table in tables)


def find(name: str) -> tuple[Table, ...]:
    """The tables of that name: one, all parts of one (``fs-3``, ``mat-2``), all of a paper, or ``all``.

    Raises:
        UsageError: There is none.
    """
    if name == "all":
        return TABLES
    if name in _PAPERS:
        return _PAPERS[name]
    paper = max((each for each in _PAPERS if name.startswith(f"{each}-")), key=len, default="")
    found = tuple(table for table in _PAPERS.get(paper, ()) if _is_part(table.name, name))
    if not found:
        raise UsageError(
            f"There is no table {name!r}.",
            hint=f"There are: {', '.join(table.name for table in TABLES)}; --tables says more.",
        )
    return found


def _is_part(name: str, whole: str) -> bool:
    """Whether ``fs-3a`` or ``mat-2-mnist`` is a part of ``fs-3`` or ``mat-2``; and each of itself."""
    rest = name.removeprefix(whole)
    return name.startswith(whole) and (not rest or rest[0] == "-" or rest.isalpha())
