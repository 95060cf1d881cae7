"""Arrivals of the open workload are a Poisson process that nothing holds up."""

from __future__ import annotations

import math
import time
from itertools import pairwise
from random import Random

import pytest

from loadtests.open_loop import Arrivals, Start


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def arrivals(rate: float, until: float, seed: int = 0, step: float = 0.1) -> list[float]:
    clock = Clock()
    process = Arrivals(rate, Random(seed), clock)
    found: list[float] = []
    while clock.now < until:
        clock.now += step
        found += process.due()
    return found


def test_being_asked_late_moves_no_arrival_and_loses_none() -> None:
    assert arrivals(20, 100, step=0.01) == arrivals(20, 100, step=25.0)


def test_gaps_are_exponential() -> None:
    found = arrivals(50, 400)
    gaps = sorted(b - a for a, b in pairwise(found))
    assert len(found) == pytest.approx(20_000, abs=5 * math.sqrt(20_000))
    # Kolmogorov-Smirnov at one in a thousand: 1.95 / sqrt(n).
    distance = max(
        abs((number + 0.5) / len(gaps) - (1 - math.exp(-50 * gap))) for number, gap in enumerate(gaps)
    )
    assert distance < 1.95 / math.sqrt(len(gaps))


def test_users_together_are_one_poisson_process_of_the_sum_of_their_rates() -> None:
    found = sorted(each for seed in range(40) for each in arrivals(2.5, 100, seed))
    per_second = [0] * 100
    for each in found:
        per_second[min(int(each), 99)] += 1
    mean = sum(per_second) / 100
    variance = sum((each - mean) ** 2 for each in per_second) / 99
    assert mean == pytest.approx(100, abs=5)
    # Of a Poisson process the variance of the count is its mean; of a regular one it would be near 0.
    assert 0.6 < variance / mean < 1.5


def test_users_that_begin_together_do_not_arrive_together() -> None:
    firsts = [arrivals(1, 30, seed)[0] for seed in range(50)]
    assert len(set(firsts)) == 50
    assert sum(firsts) / 50 == pytest.approx(1.0, abs=0.5)


def test_waiting_ends_with_the_next_arrival() -> None:
    clock = Clock()
    process = Arrivals(1, Random(0), clock)
    clock.now += process.wait()
    assert len(process.due()) == 1
    assert process.wait() > 0
    clock.now += 1000
    assert process.wait() == 0


@pytest.mark.parametrize("rate", [0, -1, math.inf, math.nan])
def test_a_rate_is_a_positive_number(rate: float) -> None:
    with pytest.raises(ValueError, match="positive rate"):
        Arrivals(rate, Random(0))


def test_a_latency_counts_from_when_the_request_was_to_begin() -> None:
    start = Start.at(time.perf_counter() - 2.0)
    assert start.elapsed() == pytest.approx(2000, abs=500)
    assert time.time() - start.wall == pytest.approx(2.0, abs=0.5)
