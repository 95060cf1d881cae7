"""When a model on a server elsewhere counts as up, and when as down."""

from __future__ import annotations

from serving.backends.health import Health


def trusted() -> Health:
    health = Health()
    health.trust(0.0)
    return health


def test_it_is_down_until_it_has_answered() -> None:
    health = Health()
    assert not health.up
    assert not any([health.answered(0.0), health.answered(0.1)]), "who was never down is not back"
    assert trusted().up


def test_one_failure_is_an_accident_and_two_in_a_row_are_not() -> None:
    health = trusted()
    assert not health.failed(1.0)
    health.answered(2.0)
    assert not health.failed(3.0)
    assert health.up
    assert health.failed(4.0), "the one that brings it down says so"
    assert not health.up
    assert not health.failed(5.0), "and none after it"


def test_whoever_hangs_is_down_at_once() -> None:
    health = trusted()
    assert health.hangs(1.0)
    assert not health.up
    assert not health.hangs(2.0)


def test_it_is_up_again_after_two_answers_in_a_row() -> None:
    health = trusted()
    health.hangs(1.0)
    assert not health.answered(2.0)
    assert not health.up
    health.failed(3.0)
    assert not health.answered(4.0)
    assert not health.up, "a failure between the two begins the count anew"
    assert health.answered(5.0)
    assert health.up
    assert not health.answered(6.0)


def test_callers_are_told_to_stay_away_as_long_as_it_has_been_down_within_reason() -> None:
    health = trusted()
    assert health.retry_after(100.0) == 1.0
    health.hangs(100.0)
    assert health.retry_after(100.5) == 1.0
    assert health.retry_after(107.0) == 7.0
    health.failed(108.0)
    assert health.retry_after(1000.0) == 30.0
    health.answered(1001.0)
    health.answered(1002.0)
    assert health.retry_after(1003.0) == 1.0
