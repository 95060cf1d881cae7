"""Every shape is bounded in time, and a run knows where it is in it."""

from __future__ import annotations

import pytest
from support.load_options import options

from loadtests.course import Course
from loadtests.ledger import Ledger, Outcome
from loadtests.options import SHAPES
from loadtests.shapes import Stage, settling, stages_of


def test_steps_rise_to_the_users_asked_for_in_the_time_given() -> None:
    assert stages_of(options("--shape", "steps", "--step-users", "3")) == [
        Stage(3, 40 / 3),
        Stage(6, 40 / 3),
        Stage(8, 40 / 3),
    ]


def test_steps_of_a_given_length_end_with_the_time() -> None:
    stages = stages_of(options("--shape", "steps", "--step-time", "15", "--step-users", "2"))
    assert stages == [Stage(2, 15), Stage(4, 15)]


def test_a_ramp_rises_evenly() -> None:
    assert [stage.users for stage in stages_of(options("--shape", "ramp"))] == list(range(1, 9))
    long = stages_of(options("--shape", "ramp", users=1000, seconds=600))
    assert len(long) == 20
    assert [long[0].users, long[-1].users] == [50, 1000]


def test_a_spike_is_four_times_what_is_around_it() -> None:
    assert stages_of(options("--shape", "spike")) == [Stage(2, 16), Stage(8, 8), Stage(2, 16)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("users", "seconds"), [(None, None), (1, 1), (7, 13), (300, 90)])
def test_every_shape_ends_and_goes_no_higher_than_asked(
    shape: str, users: int | None, seconds: int | None
) -> None:
    chosen = options("--shape", shape, users=users, seconds=seconds)
    stages = stages_of(chosen)
    assert sum(stage.seconds for stage in stages) <= chosen.seconds * 1.000001
    assert max(stage.users for stage in stages) == chosen.users
    assert min(stage.users for stage in stages) >= 1


def test_a_run_without_a_time_gets_one() -> None:
    assert options(seconds=None).seconds == 60
    assert options("--shape", "soak", seconds=None).seconds == 1800
    assert options(users=None).users == 10


def test_a_long_run_is_counted_in_longer_windows() -> None:
    assert options(seconds=60).resolution == 0.25
    assert options(seconds=1800).resolution == 3
    assert options(seconds=86_400).resolution == 144


def walk(course: Course, *, every: float = 1.0, most: float = 1000.0) -> list[tuple[float, int]]:
    """The users at each second until the course is over."""
    found, now = [], 0.0
    while now < most:
        users = course.users_at(now, 5000 + now)
        if users is None:
            break
        found.append((now, users))
        now += every
    return found


def test_a_course_holds_each_stage_and_then_is_over() -> None:
    course = Course(options("--shape", "steps", "--step-users", "4", seconds=10), Ledger())
    assert [users for _, users in walk(course)] == [4] * 5 + [8] * 5
    assert course.is_over
    periods = course.periods()
    assert [(each.load, each.ended) for each in periods] == [(4, 5005), (8, 5010)]
    assert periods[0].began == 5000 + settling(Stage(4, 5)) == 5001.25


def test_load_of_the_open_workload_is_arrivals() -> None:
    chosen = options("--workload", "open", "--arrival-rate", "2.5", seconds=4)
    course = Course(chosen, Ledger())
    walk(course)
    assert [each.load for each in course.periods()] == [20.0]


def test_a_run_ends_after_the_most_requests() -> None:
    ledger = Ledger()
    course = Course(options("--max-requests", "3"), ledger)
    assert course.users_at(0, 5000) == 8
    for _ in range(3):
        ledger.end("a", 5000, Outcome.ANSWERED, 1.0)
    assert course.users_at(1, 5001) is None
    assert "3 requests" in course.ended_early


@pytest.mark.parametrize(("milliseconds", "levels"), [(10.0, 4), (900.0, 2)])
def test_steps_end_with_the_level_after_the_one_that_was_too_much(milliseconds: float, levels: int) -> None:
    ledger = Ledger(0.25)
    course = Course(options("--shape", "steps", "--step-users", "2", seconds=40), ledger)
    now = 0.0
    while (users := course.users_at(now, 5000 + now)) is not None:
        for _ in range(users):
            ledger.begin("a", 5000 + now)
            ledger.end("a", 5000 + now, Outcome.ANSWERED, milliseconds)
        now += 1
    assert len(course.periods()) == levels
    assert bool(course.ended_early) == (levels < 4)


def test_a_run_that_somebody_stops_is_over() -> None:
    course = Course(options(), Ledger())
    course.users_at(0, 5000)
    course.stop()
    assert course.users_at(1, 5001) is None


@pytest.mark.parametrize(
    "arguments",
    [
        ("--p99", "fast"),
        ("--fail-ratio", "2"),
        ("--fail-ratio", "classify=-1"),
        ("--arrival-rate", "0"),
        ("--think", "-1"),
        ("--shape", "pyramid"),
        ("--max-requests", "0"),
        ("--knee-fail-ratio", "1.5"),
    ],
)
def test_what_cannot_be_is_refused(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        options(*arguments)
    assert ended.value.code == 2
    assert arguments[0] in capsys.readouterr().err
