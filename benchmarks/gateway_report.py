"""What the gateway's benchmark measured, side by side, and what that says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from paired import Spread, paired_ratio
from report import Sheet
from servers import GATEWAY

BARE, SESSION = "bare loop", "session alone"

#: What the project expects of the gateway: its rate under several callers over that of the bare loop, and to
#: be ahead of every other server.
OF_BARE, AHEAD = 0.9, 1.0


class Side(NamedTuple):
    """What is measured, and how many callers there are meanwhile.

    The bare loop knows no callers: it is measured beside the others at each of their numbers.
    """

    name: str
    callers: int


@dataclass(frozen=True)
class Figures:
    """One side in one round.

    Attributes:
        rate: Images per second.
        p50: Seconds within which half of the answers came.
        p99: Seconds within which 99 in 100 came.
        cpu: CPU seconds that the side spent on one image.
        images: How many were answered.
        generator_cores: Cores that the load generator used meanwhile.
        others: Cores that processes used meanwhile which are no part of the benchmark.
    """

    rate: float
    p50: float
    p99: float
    cpu: float
    images: int
    generator_cores: float = 0.0
    others: float = 0.0


Rounds = Mapping[Side, Sequence[Figures]]


@dataclass(frozen=True)
class Comparison:
    """One figure of the gateway over the same figure of another side in the same round.

    Attributes:
        callers: How many there were.
        other: The other side.
        figure: What was compared, in words.
        ratio: Over the rounds.
        expected: What the project expects of the median, in words; empty where it expects nothing.
        met: Whether it is so.
    """

    callers: int
    other: str
    figure: str
    ratio: Spread
    expected: str = ""
    met: bool | None = None

    def as_json(self) -> dict[str, Any]:
        """For the results' file."""
        return asdict(self)


def compare(rounds: Rounds) -> list[Comparison]:
    """The gateway over every other side, in what can be compared with it."""
    comparisons = []
    for callers in sorted({side.callers for side in rounds if side.name == GATEWAY}):
        ours = rounds[Side(GATEWAY, callers)]
        others = [side.name for side in rounds if side.callers == callers]
        for other in (name for name in others if name not in (GATEWAY, SESSION)):
            theirs = rounds[Side(other, callers)]
            for figure, read in _COMPARABLE.items():
                # A loop that does one image at a time has no latency under several callers.
                if figure == "rate" or other != BARE or callers == 1:
                    ratio = paired_ratio([read(each) for each in ours], [read(each) for each in theirs])
                    comparisons.append(_judge(callers, other, figure, ratio))
    return comparisons


_COMPARABLE: dict[str, Callable[[Figures], float]] = {
    "rate": lambda figures: figures.rate,
    "p50": lambda figures: figures.p50,
    "p99": lambda figures: figures.p99,
}


def _judge(callers: int, other: str, figure: str, ratio: Spread) -> Comparison:
    if other == BARE:
        if figure == "rate" and callers > 1:
            return Comparison(callers, other, figure, ratio, f"at least {OF_BARE}", ratio.median >= OF_BARE)
    elif figure == "rate":
        return Comparison(callers, other, figure, ratio, "above 1", ratio.median > AHEAD)
    elif figure == "p99":
        return Comparison(callers, other, figure, ratio, "below 1", ratio.median < AHEAD)
    return Comparison(callers, other, figure, ratio)


def ratio_sheet(comparisons: Sequence[Comparison], rounds: int) -> Sheet:
    """The comparisons as a table."""
    sheet = Sheet(
        "The gateway, over the others in the same round",
        ("callers", "gateway over", ">images/s", ">p50", ">p99", "expected"),
        f"Medians of {rounds} paired ratios, with the quartiles. Above 1 is better for images/s, below 1 for "
        "latencies.",
    )
    for callers, other in dict.fromkeys((each.callers, each.other) for each in comparisons):
        cells = {each.figure: each for each in comparisons if (each.callers, each.other) == (callers, other)}
        expected = [
            f"{_WORDS[each.figure]} {each.expected}: {'yes' if each.met else 'NO'}"
            for each in cells.values()
            if each.expected
        ]
        shown = [cells[figure].ratio.show() if figure in cells else "" for figure in _COMPARABLE]
        sheet.add(str(callers), other, *shown, "; ".join(expected))
    return sheet


_WORDS = {"rate": "images/s", "p50": "p50", "p99": "p99"}


def figure_sheet(rounds: Rounds) -> Sheet:
    """Every side by itself, as a table."""
    sheet = Sheet(
        "Each side by itself",
        (
            "callers",
            "side",
            ">images/s",
            ">p50 ms",
            ">p99 ms",
            ">CPU ms per image",
            ">load generator's cores",
        ),
        "Medians over the rounds, with the quartiles. They move with the machine's speed: compare by the "
        "ratios above. Latencies are those of a closed loop, whose callers wait for an answer before they "
        "ask again (coordinated omission). The bare loop is one loop whatever the callers.",
    )
    for side, figures in rounds.items():
        over_http = side.name not in (BARE, SESSION)
        sheet.add(
            str(side.callers) if over_http else "–",
            side.name,
            Spread.of([each.rate for each in figures]).show(),
            Spread.of([each.p50 for each in figures]).show(scale=1000),
            Spread.of([each.p99 for each in figures]).show(scale=1000),
            Spread.of([each.cpu for each in figures]).show(scale=1000),
            Spread.of([each.generator_cores for each in figures]).show() if over_http else "–",
        )
    return sheet


def rounds_as_json(rounds: Rounds) -> list[dict[str, Any]]:
    """Every measurement, for the results' file."""
    return [
        {"side": side.name, "callers": side.callers, "round": number, **asdict(each)}
        for side, figures in rounds.items()
        for number, each in enumerate(figures, 1)
    ]
