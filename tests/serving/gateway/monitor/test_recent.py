"""The last minutes are kept step by step, in bounded memory, and forgotten in time."""

from __future__ import annotations

import math
import random
import threading

import pytest

from serving.gateway.monitor.latencies import Latencies
from serving.gateway.monitor.recent import (
    MINUTES,
    STEP,
    AttackKey,
    ModelKey,
    Recent,
    Tally,
    is_counted,
    purpose_of,
)

KEY = ModelKey("a", "1", "none")


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def ask(recent: Recent, status: int = 200, seconds: float = 0.01) -> None:
    recent.begin_request()
    recent.end_request("classify", KEY, status, seconds)


def test_requests_are_counted_in_the_step_in_which_they_end(clock: Clock) -> None:
    recent = Recent(clock)
    ask(recent)
    clock.now += STEP
    recent.begin_request()
    clock.now += 2 * STEP
    recent.end_request("classify", KEY, 200, 2.0 * STEP)
    slots, age = recent.slots(1)
    assert [slot.requests.requests for slot in slots][-4:] == [1, 0, 0, 1]
    # What is being answered in a step is there all through it.
    assert [slot.in_flight for slot in slots][-4:] == [1, 1, 1, 1]
    assert len(slots) == 60 // STEP
    assert age == 60 - STEP


def test_age_says_when_the_first_step_began(clock: Clock) -> None:
    recent = Recent(clock)
    clock.now += 2.5
    assert recent.slots(1)[1] == 60 - STEP + 2.5


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, "succeeded"),
        (304, "succeeded"),
        (404, "client_errors"),
        (422, "client_errors"),
        (429, "refused"),
        (503, "refused"),
        (499, "gone"),
        (500, "server_errors"),
        (504, "server_errors"),
    ],
)
def test_request_is_of_one_kind(status: int, kind: str) -> None:
    tally = Tally()
    tally.end(status, 0.01)
    kinds = ("succeeded", "client_errors", "refused", "gone", "server_errors")
    assert [name for name in kinds if getattr(tally, name)] == [kind]
    assert tally.requests == 1


def test_what_is_older_than_the_longest_time_is_forgotten(clock: Clock) -> None:
    recent = Recent(clock)
    ask(recent)
    clock.now += MINUTES * 60 - STEP
    assert sum(slot.requests.requests for slot in recent.slots(MINUTES)[0]) == 1
    clock.now += STEP
    assert sum(slot.requests.requests for slot in recent.slots(MINUTES)[0]) == 0
    clock.now += 30 * 86_400
    ask(recent)
    slots, _ = recent.slots(MINUTES)
    assert len(slots) == MINUTES * 60 // STEP
    assert [slot.requests.requests for slot in slots] == [0] * (len(slots) - 1) + [1]


def test_a_reader_has_what_was_so_when_it_asked(clock: Clock) -> None:
    recent = Recent(clock)
    ask(recent)
    slots, _ = recent.slots(1)
    ask(recent)
    recent.count_images(KEY, 7)
    assert slots[-1].requests.requests == 1
    assert slots[-1].classified[KEY].images == 0


def test_queue_is_looked_at_when_a_request_comes(clock: Clock) -> None:
    recent = Recent(clock)
    waiting = iter([3, 8, 1])
    recent.watch(lambda: next(waiting))
    for _ in range(3):
        recent.begin_request()
    slot = recent.slots(1)[0][-1]
    assert (slot.waiting, slot.in_flight) == (8, 3)


def test_who_only_watches_does_not_count() -> None:
    counted = {path for path in ("/v1/models", "/v2/models/a/infer", "/v1/nowhere") if is_counted(path)}
    assert len(counted) == 3
    for path in (
        "/",
        "/metrics",
        "/v1/monitor",
        "/livez",
        "/v2/health/live",
        "/playground/x/a.js",
        "/nowhere",
    ):
        assert not is_counted(path)


def test_purpose_is_known_by_the_address() -> None:
    assert purpose_of("/v1/models/{model}/versions/{version}/classify") == "classify"
    assert purpose_of("/v2/models/{model}/infer") == "classify"
    assert purpose_of("/v1/models/{model}/attack") == "attack"
    assert purpose_of("/v1/attacks") == purpose_of("") == "other"


def test_nothing_is_lost_between_threads() -> None:
    recent = Recent()

    def work() -> None:
        for _ in range(500):
            ask(recent)
            recent.count_batch(KEY, 2)
            recent.count_verdict(KEY, "suspect")
            recent.count_attack(AttackKey("a", "1", "none", "pgd"), True, 0.1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    slots, _ = recent.slots(MINUTES)
    tallies = [slot.classified[KEY] for slot in slots if KEY in slot.classified]
    assert sum(tally.requests for tally in tallies) == 2000
    assert sum(tally.batch_images for tally in tallies) == 4000
    assert sum(tally.suspect for tally in tallies) == 2000
    assert sum(strikes.fooled for slot in slots for strikes in slot.attacks.values()) == 2000
    assert recent.in_flight == 0


def test_quantiles_are_right_to_five_percent() -> None:
    draw = random.Random(0)
    durations = sorted(draw.lognormvariate(-4, 1.5) for _ in range(5000))
    halves = Latencies(), Latencies()
    for place, seconds in enumerate(durations):
        halves[place % 2].add(seconds)
    halves[0].merge(halves[1])
    shares = (0.01, 0.5, 0.95, 0.99, 1.0)
    for share, found in zip(shares, halves[0].quantiles(shares), strict=True):
        true = durations[math.ceil(share * len(durations)) - 1]
        assert found == pytest.approx(true, rel=0.05)


def test_there_are_no_quantiles_of_nothing() -> None:
    assert Latencies().quantiles([0.5, 0.99]) == [None, None]


@pytest.mark.parametrize("seconds", [0.0, -1.0, 1e-9, 1e9])
def test_odd_durations_are_counted_all_the_same(seconds: float) -> None:
    latencies = Latencies()
    latencies.add(seconds)
    [found] = latencies.quantiles([0.5])
    assert found is not None
    assert found > 0
