"""The interval of a share."""

from __future__ import annotations

import pytest

from holdfast.interval import wilson


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (5, 10), (10, 10), (9000, 10000)])
def test_the_interval_is_wilsons(successes: int, trials: int) -> None:
    low, high = wilson(successes, trials)
    z, p = 1.959964, successes / trials
    # Wilson's bounds solve (p − q)² = z² q (1 − q) / n.
    for bound in (low, high):
        assert (p - bound) ** 2 == pytest.approx(z**2 * bound * (1 - bound) / trials, abs=1e-9)
    assert 0 <= low <= p <= high <= 1
