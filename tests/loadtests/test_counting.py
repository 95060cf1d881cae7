"""Latencies and requests are counted so that they can be added up, and nothing that is slow is left out."""

from __future__ import annotations

import json
import math
from random import Random

import pytest

from loadtests.histogram import Histogram, add, count, middle_of, quantile
from loadtests.ledger import Ledger, Outcome


def test_a_quantile_is_right_to_one_percent_from_microseconds_to_hours() -> None:
    dice = Random(0)
    for scale in (0.01, 1.0, 250.0, 3_600_000.0):
        values = sorted(scale * dice.lognormvariate(0, 1) for _ in range(1000))
        histogram: Histogram = {}
        for value in values:
            count(histogram, value)
        for share in (0.5, 0.95, 0.99, 1.0):
            exact = values[math.ceil(share * 1000) - 1]
            assert quantile(histogram, share) == pytest.approx(exact, rel=0.0101)


def test_what_was_never_answered_took_longer_than_all_that_was() -> None:
    histogram: Histogram = {}
    for _ in range(98):
        count(histogram, 5.0)
    assert quantile(histogram, 0.99, endless=2) == math.inf
    assert quantile(histogram, 0.98, endless=2) == pytest.approx(5.0, rel=0.0101)
    assert quantile({}, 0.5) is None
    assert quantile({}, 0.5, endless=1) == math.inf


def test_histograms_of_two_processes_are_that_of_both() -> None:
    whole: Histogram = {}
    parts: list[Histogram] = [{}, {}]
    for number in range(1, 200):
        count(whole, number)
        count(parts[number % 2], number)
    together = dict(parts[0])
    add(together, parts[1])
    assert together == whole
    assert middle_of(next(iter(parts[1]))) == pytest.approx(1.0, rel=0.0101)


def test_a_request_stands_under_the_time_at_which_it_was_to_begin() -> None:
    ledger = Ledger(resolution=1.0)
    ledger.begin("a", 10.2)
    ledger.begin("a", 10.9)
    ledger.end("a", 10.2, Outcome.ANSWERED, 5000.0)  # answered at 15.2
    assert ledger.total(since=10, until=11).answered == 1
    assert ledger.total(since=10, until=11).waiting == 1
    assert ledger.total(since=11, until=20).begun == 0
    assert ledger.total(since=10.5, until=20).begun == 0  # a window counts only where it is whole


def test_what_is_on_its_way_and_what_had_no_answer_count_as_slow() -> None:
    ledger = Ledger()
    for _ in range(97):
        ledger.begin("a", 0)
        ledger.end("a", 0, Outcome.ANSWERED, 1.0)
    ledger.begin("a", 0)
    ledger.begin("a", 0)
    ledger.end("a", 0, Outcome.UNANSWERED)
    assert ledger.total().quantile(0.99) == math.inf
    assert ledger.total().quantile(0.95) == pytest.approx(1.0, rel=0.0101)


@pytest.mark.parametrize(("unanswered", "begun", "ratio"), [(True, 4, 0.5), (False, 2, 0.0)])
def test_in_the_end_what_never_ended_was_not_answered_unless_it_was_called_off(
    unanswered: bool, begun: int, ratio: float
) -> None:
    ledger = Ledger()
    for _ in range(4):
        ledger.begin("a", 0)
    for _ in range(2):
        ledger.end("a", 0, Outcome.ANSWERED, 1.0)
    ledger.close(unanswered=unanswered)
    cell = ledger.total()
    assert (cell.waiting, cell.begun, cell.fail_ratio) == (0, begun, ratio)


def test_refusals_are_neither_answers_nor_failures() -> None:
    ledger = Ledger()
    for outcome in (Outcome.ANSWERED, Outcome.FAILED, Outcome.UNANSWERED, Outcome.REFUSED, Outcome.REFUSED):
        ledger.begin("a", 0)
        ledger.end("a", 0, outcome, 1.0)
    cell = ledger.total()
    assert cell.fail_ratio == pytest.approx(2 / 3)
    assert cell.refusal_ratio == pytest.approx(2 / 5)
    assert sum(cell.latencies.values()) == 1


def test_a_master_adds_up_what_its_workers_counted() -> None:
    whole, master = Ledger(0.25), Ledger(0.25)
    workers = [Ledger(0.25), Ledger(0.25)]
    dice = Random(1)
    for number in range(500):
        name, wall = dice.choice(["a", "b"]), dice.uniform(100, 110)
        for ledger in (whole, workers[number % 2]):
            ledger.begin(name, wall)
            ledger.late(number / 10)
        if number % 50 == 0:  # in the middle of requests, too
            for worker in workers:
                master.merge(json_of(worker.take()))
        for ledger in (whole, workers[number % 2]):
            ledger.end(name, wall, dice.choice([Outcome.ANSWERED]), number)
    for worker in workers:
        master.merge(json_of(worker.take()))
    assert master.total() == whole.total()
    assert master.total("b", 102, 107) == whole.total("b", 102, 107)
    assert master.lateness == whole.lateness
    assert master.ended == whole.ended == 500
    assert [name for name, _ in master] == ["a", "b"]
    assert master.span() == whole.span()


def test_reports_in_other_windows_are_refused() -> None:
    with pytest.raises(ValueError, match="windows of 1"):
        Ledger(0.25).merge(Ledger(1.0).take())


def json_of(report: dict[str, object]) -> dict[str, object]:
    """What arrives has no types but those of the wire; keys of maps stay numbers, as msgpack has it."""
    assert json.dumps(report)
    return report
