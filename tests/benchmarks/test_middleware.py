"""What is done about every request is little beside a classification, which takes about a millisecond."""

from __future__ import annotations

import asyncio

import middleware


def test_key_rate_limit_and_metrics_cost_far_less_than_a_tenth_of_a_millisecond() -> None:
    """Processor time, so that what else the machine does does not count."""
    costs = dict(asyncio.run(middleware.measure(500)))
    assert list(costs) == ["nothing", "a key", "a rate limit", "metrics", "guard, log and request id"]
    assert costs["metrics"] - costs["nothing"] < 100
