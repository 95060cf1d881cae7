"""Rates are written as people say them."""

from __future__ import annotations

import pytest

from serving.rates import Rate


@pytest.mark.parametrize(
    ("text", "quota", "window"),
    [
        ("10/second", 10, 1),
        ("600/minute", 600, 60),
        ("1000/5 minutes", 1000, 300),
        ("5 / hour", 5, 3600),
        ("7/2days", 7, 172_800),
        ("3/MINUTES", 3, 60),
    ],
)
def test_rate_is_read_and_written(text: str, quota: int, window: int) -> None:
    rate = Rate.parse(text)
    assert (rate.quota, rate.window) == (quota, window)
    assert Rate.parse(str(rate)) == rate


@pytest.mark.parametrize(
    "text", ["", "10", "ten/minute", "0/minute", "1/0 seconds", "1/week", "-1/second", "1/s"]
)
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"minute|at least one"):
        Rate.parse(text)


def test_rate_is_written_in_the_largest_unit_that_fits() -> None:
    assert str(Rate(5, 3600)) == "5/hour"
    assert str(Rate(5, 90)) == "5/90 seconds"
    assert str(Rate(5, 7200)) == "5/2 hours"
