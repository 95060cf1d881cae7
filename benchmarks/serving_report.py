"""What the benchmark of servers measured, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from gateway_report import BARE, Figures, Side
from paired import Spread, paired_ratio
from report import Sheet
from servers import GATEWAY
from serving_visit import Visit

#: By side, its visit in each round.
Visits = Mapping[str, Sequence[Visit]]

_MIB = 2**20


def by_callers(visits: Visits) -> dict[Side, list[Figures]]:
    """Every side at every number of callers; the bare loop is the one that ran just before the gateway."""
    callers = list(visits[GATEWAY][0].levels)
    rounds = {
        Side(name, level): [visit.levels[level] for visit in seen]
        for level in callers
        for name, seen in visits.items()
        if name != BARE
    }
    for level in callers:
        rounds[Side(BARE, level)] = [visit.beside for visit in visits[GATEWAY] if visit.beside is not None]
    return rounds


def busy_with_others(visits: Visits) -> float:
    """Cores that processes used which are no part of the benchmark, on average over its measurements."""
    return fmean(each.others for seen in visits.values() for visit in seen for each in visit.levels.values())


def load_sheet(visits: Visits) -> Sheet:
    """Every side under load, as a table."""
    sheet = Sheet(
        "Each side under load",
        (
            "callers",
            "side",
            ">images/s",
            ">over the bare loop",
            ">p50 ms",
            ">p99 ms",
            ">CPU ms per image",
            ">load generator's cores",
        ),
        "Medians over the rounds, with the quartiles. They move with the machine's speed: the column over "
        "the bare loop is the median of the ratios to the loop that ran just before. Latencies are those of "
        "a closed loop, whose callers wait for an answer before they ask again (coordinated omission). There "
        "is one bare loop, whatever the callers.",
    )
    _add(sheet, "–", BARE, [visit.levels[1] for visit in visits[BARE]], [])
    for level in visits[GATEWAY][0].levels:
        for name, seen in visits.items():
            if name != BARE:
                beside = [visit.beside for visit in seen if visit.beside is not None]
                _add(sheet, str(level), name, [visit.levels[level] for visit in seen], beside)
    return sheet


def _add(sheet: Sheet, callers: str, name: str, seen: Sequence[Figures], beside: Sequence[Figures]) -> None:
    rates = [each.rate for each in seen]
    sheet.add(
        callers,
        name,
        Spread.of(rates).show(),
        paired_ratio(rates, [each.rate for each in beside]).show() if beside else "1",
        Spread.of([each.p50 for each in seen]).show(scale=1000),
        Spread.of([each.p99 for each in seen]).show(scale=1000),
        Spread.of([each.cpu for each in seen]).show(scale=1000),
        Spread.of([each.generator_cores for each in seen]).show() if beside else "–",
    )


def start_sheet(visits: Visits, layouts: Mapping[str, str]) -> Sheet:
    """How every side starts and what it holds, as a table.

    Args:
        visits: What was seen.
        layouts: By side, how it uses the machine, in words.
    """
    sheet = Sheet(
        "Start and memory",
        (
            "side",
            "workers × threads",
            ">processes",
            ">first answer, s",
            ">memory after it, MiB",
            ">after the load, MiB",
            ">as RSS, MiB",
        ),
        "Medians over the rounds, with the quartiles. The first answer is the first right one, counted from "
        "the start of the command. Memory is of all processes of a side, a page that several share counted "
        "once (PSS); in the last column each process counts it (RSS).",
    )
    for name, seen in visits.items():
        sheet.add(
            name,
            layouts.get(name, "–"),
            str(max(visit.loaded.processes for visit in seen)),
            Spread.of([visit.cold_start for visit in seen]).show(),
            Spread.of([visit.idle.pss / _MIB for visit in seen]).show(),
            Spread.of([visit.loaded.pss / _MIB for visit in seen]).show(),
            Spread.of([visit.loaded.rss / _MIB for visit in seen]).show(),
        )
    return sheet


def visits_as_json(visits: Visits) -> list[dict[str, Any]]:
    """Every visit, for the results' file."""
    return [
        {"round": number, **visit.as_json()}
        for seen in visits.values()
        for number, visit in enumerate(seen, 1)
    ]
