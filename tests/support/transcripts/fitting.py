"""Whether what came out is of the shape that a page shows."""

from __future__ import annotations

import math
import re
from typing import Any

from support.transcripts.elided import Elision, ShownObject

#: Of numbers that another processor rounds differently.
RELATIVE, ABSOLUTE = 0.02, 1e-3
#: What an attack needs; where a step fools or not by a rounding, there is one more or fewer.
COUNTS = frozenset({"queries", "forwards", "backwards", "median_queries"})
_CLOCKED = re.compile(r"_ms$|^seconds|_seconds$|^eta|^elapsed")

_TOKENS = re.compile(
    r"""
      (?P<any>…)
    | (?P<time>\w{3},\ \d\d\ \w{3}\ \d{4}\ \d\d:\d\d:\d\d\ GMT
              |\d{4}-\d\d-\d\d[T\ ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d|\ UTC)?)
    | (?P<duration>\b\d[\d,]*(?:\.\d+)?\ (?:ms|s|min)\b)
    | (?P<id>\b(?:[0-9a-f]{32}|[0-9a-f]{20})\b|\b(?=\w*\d)(?=\w*[a-z])(?=\w*[A-Z])\w{11}\b)
    | (?P<exact>\d+(?:\.\d+){2,})
    | (?P<float>\d+\.\d+(?:e-?\d+)?)
    | (?P<space>\s+)
    """,
    re.VERBOSE,
)
_ANY_OF = {
    "any": r"[\s\S]*",
    "time": r"[\w,:. +-]+",
    "duration": r"\d[\d,]*(?:\.\d+)? (?:ms|s|min)",
    "id": r"(\w+)",
    "float": r"\d[\d,]*(?:\.\d+)?(?:e-?\d+)?",
    "space": r"\s+",
}


class MismatchError(AssertionError):
    """What came out is of another shape than what is shown."""


class Names:
    """What ids stand for: those that a page shows are those of when it was written."""

    def __init__(self) -> None:
        self._now: dict[str, str] = {}

    def bind(self, shown: str, found: str, where: str) -> None:
        """Take an id to stand for another, here and wherever it is shown again."""
        if self._now.setdefault(shown, found) != found:
            raise MismatchError(f"{where}: {shown} stood for {self._now[shown]} before, and here for {found}")

    def copy(self) -> Names:
        """The same, for a trial."""
        other = Names()
        other.take(self)
        return other

    def take(self, other: Names) -> None:
        """Be as the other."""
        self._now = dict(other._now)

    def now(self, text: str) -> str:
        """A text with the ids of today."""
        for shown, found in self._now.items():
            text = text.replace(shown, found)
        return text


def fit_text(shown: str, found: str, names: Names, where: str) -> None:
    """Hold a text to the one that is shown.

    An ellipsis is anything; a time or duration is any, a decimal number any number, and an id any id, but the
    same one wherever it is shown. All else is as it is.
    """
    parts, ids, place = [], [], 0
    for token in _TOKENS.finditer(shown):
        parts.append(re.escape(shown[place : token.start()]))
        kind = str(token.lastgroup)
        parts.append(_ANY_OF.get(kind) or re.escape(token[0]))
        ids += [token[0]] if kind == "id" else []
        place = token.end()
    parts.append(re.escape(shown[place:]))
    match = re.fullmatch("".join(parts), found.strip() if shown == shown.strip() else found)
    if match is None:
        raise MismatchError(f"{where}: {found!r} where {shown!r} is shown")
    for each, now in zip(ids, match.groups(), strict=True):
        names.bind(each, now, where)


def fit_json(shown: Any, found: Any, names: Names, where: str = "") -> None:
    """Hold JSON to what is shown: members, elements, types and values; numbers within a tolerance."""
    if isinstance(shown, Elision):
        return
    if isinstance(shown, ShownObject):
        _fit_object(shown, found, names, where)
    elif isinstance(shown, list):
        _fit_list(shown, found, names, where)
    elif isinstance(shown, str):
        if not isinstance(found, str):
            raise MismatchError(f"{where}: {found!r} where a text is shown")
        fit_text(shown, found, names, where)
    elif isinstance(shown, bool) or shown is None:
        if found is not shown:
            raise MismatchError(f"{where}: {found!r} where {shown!r} is shown")
    elif isinstance(found, bool) or not isinstance(found, int | float):
        raise MismatchError(f"{where}: {found!r} where a number is shown")
    else:
        _fit_number(shown, found, where)


def _fit_object(shown: ShownObject, found: Any, names: Names, where: str) -> None:
    if not isinstance(found, dict):
        raise MismatchError(f"{where}: {found!r} where an object is shown")
    missing = shown.members.keys() - found.keys()
    more = found.keys() - shown.members.keys()
    if missing:
        raise MismatchError(f"{where}: {sorted(missing)} shown, and not there; there are {sorted(found)}")
    if more and not shown.open:
        raise MismatchError(f"{where}: {sorted(more)} there, and not shown")
    for name, value in shown.members.items():
        fit_json(value, found[name], names, f"{where}.{name}" if where else name)


def _fit_list(shown: list[Any], found: Any, names: Names, where: str) -> None:
    if not isinstance(found, list):
        raise MismatchError(f"{where}: {found!r} where a list is shown")
    runs: list[list[Any]] = [[]]
    for each in shown:
        if isinstance(each, Elision):
            runs.append([])
        else:
            runs[-1].append(each)
    there = sum(len(run) for run in runs)
    if len(found) < there or (len(runs) == 1 and len(found) > there):
        raise MismatchError(f"{where}: {len(found)} elements where {there} are shown")
    _fit_run(runs[0], found, 0, names, where)
    if len(runs) > 1:
        end, place = len(found) - len(runs[-1]), len(runs[0])
        for run in runs[1:-1]:
            place = _fit_somewhere(run, found[:end], place, names, where)
        _fit_run(runs[-1], found, end, names, where)


def _fit_run(shown: list[Any], found: list[Any], place: int, names: Names, where: str) -> None:
    for offset, each in enumerate(shown):
        fit_json(each, found[place + offset], names, f"{where}[{place + offset}]")


def _fit_somewhere(shown: list[Any], found: list[Any], place: int, names: Names, where: str) -> int:
    """Find elements that have an ellipsis on either side, from ``place`` on; the place behind them."""
    for start in range(place, len(found) - len(shown) + 1):
        tried = names.copy()
        try:
            _fit_run(shown, found, start, tried, where)
        except MismatchError:
            continue
        names.take(tried)
        return start + len(shown)
    raise MismatchError(f"{where}: {shown} is nowhere in {found}")


def _fit_number(shown: float, found: float, where: str) -> None:
    name = re.sub(r"(\[\d+\])+$", "", where).rpartition(".")[2]
    if _CLOCKED.search(name):
        return
    if name in COUNTS:
        fits = math.isclose(shown, found, rel_tol=0.2, abs_tol=3)
    elif isinstance(shown, int):
        fits = shown == found
    else:
        fits = math.isclose(shown, found, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
    if not fits:
        raise MismatchError(f"{where}: {found} where {shown} is shown")
