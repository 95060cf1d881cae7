"""The knee is the highest load below which all is well."""

from __future__ import annotations

import math

import pytest

from loadtests.knee import Level, Limits, Period, find_knee, measure
from loadtests.ledger import Ledger, Outcome

LIMITS = Limits(p99=100.0, fail_ratio=0.05)


def level(load: float, *, within: bool) -> Level:
    return Level(load, 10, 100, 10.0, 5.0, 50.0, 0.0, within)


def test_the_knee_is_the_last_level_before_the_first_that_is_too_much() -> None:
    levels = [level(load, within=within) for load, within in ((10, True), (20, True), (30, False))]
    knee = find_knee(levels)
    assert knee is not None
    assert (knee.level, knee.beyond) == (levels[1], levels[2])


def test_a_lucky_level_beyond_it_does_not_count() -> None:
    levels = [level(load, within=within) for load, within in ((10, True), (20, False), (30, True))]
    knee = find_knee(levels)
    assert knee is not None
    assert (knee.level, knee.beyond) == (levels[0], levels[1])


def test_there_may_be_none_or_none_found() -> None:
    low, high = level(10, within=False), level(10, within=True)
    assert find_knee([]) is None
    below, above = find_knee([low]), find_knee([high])
    assert below is not None
    assert (below.level, below.beyond) == (None, low)
    assert above is not None
    assert (above.level, above.beyond) == (high, None)


def filled(outcomes: dict[Outcome, int], milliseconds: float, waiting: int = 0) -> Ledger:
    ledger = Ledger()
    for outcome, times in outcomes.items():
        for _ in range(times):
            ledger.begin("a", 12)
            ledger.end("a", 12, outcome, milliseconds)
    for _ in range(waiting):
        ledger.begin("a", 12)
    return ledger


@pytest.mark.parametrize(
    ("outcomes", "milliseconds", "waiting", "within"),
    [
        ({Outcome.ANSWERED: 100}, 50.0, 0, True),
        ({Outcome.ANSWERED: 100}, 150.0, 0, False),
        ({Outcome.ANSWERED: 96, Outcome.FAILED: 4}, 50.0, 0, True),
        ({Outcome.ANSWERED: 94, Outcome.FAILED: 6}, 50.0, 0, False),
        ({Outcome.ANSWERED: 94, Outcome.REFUSED: 6}, 50.0, 0, False),
        ({Outcome.ANSWERED: 97, Outcome.UNANSWERED: 3}, 50.0, 0, False),
        ({Outcome.ANSWERED: 97}, 50.0, 3, False),
    ],
)
def test_a_level_is_within_the_limits_if_it_is_quick_and_loses_little(
    outcomes: dict[Outcome, int], milliseconds: float, waiting: int, within: bool
) -> None:
    found = measure(filled(outcomes, milliseconds, waiting), Period(7, 10, 20), LIMITS)
    assert found is not None
    assert found.within is within
    assert found.requests == sum(outcomes.values()) + waiting
    assert found.per_second == (outcomes[Outcome.ANSWERED] / 10 if milliseconds < 100 else 0)
    document = found.as_json()
    assert document["load"] == 7
    assert (document["p99"] is None) == (found.p99 is None or math.isinf(found.p99))


def test_only_the_time_of_the_level_and_the_names_asked_for_count() -> None:
    ledger = filled({Outcome.ANSWERED: 10}, 50.0)
    for wall in (9.9, 20.1):
        ledger.begin("a", wall)
        ledger.end("a", wall, Outcome.FAILED)
    ledger.begin("b", 12)
    ledger.end("b", 12, Outcome.FAILED)
    found = measure(ledger, Period(7, 10, 20), Limits(100.0, 0.0, "a"))
    assert found is not None
    assert (found.requests, found.lost) == (10, 0.0)


def test_a_level_without_a_request_or_a_window_is_none() -> None:
    ledger = filled({Outcome.ANSWERED: 10}, 50.0)
    assert measure(ledger, Period(7, 30, 40), LIMITS) is None
    assert measure(ledger, Period(7, 12.1, 12.9), LIMITS) is None
