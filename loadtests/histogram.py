"""Latencies in buckets that can be added up: over seconds, over names, over processes.

A bucket is two percent wide, so a quantile is off by one percent at most, from microseconds to hours, and
what a minute of load leaves behind is a few hundred counts. (Locust's own buckets are whole milliseconds.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping

_WIDTH = math.log(1.02)
#: Milliseconds; what is shorter falls into the same bucket.
_SHORTEST = 0.001

#: How many latencies fell into each bucket.
Histogram = dict[int, int]


def bucket_of(milliseconds: float) -> int:
    """The bucket that a latency falls into."""
    return math.floor(math.log(max(milliseconds, _SHORTEST)) / _WIDTH)


def middle_of(bucket: int) -> float:
    """The latency that stands for a bucket, in milliseconds."""
    return math.exp((bucket + 0.5) * _WIDTH)


def count(histogram: Histogram, milliseconds: float) -> None:
    """Count one latency."""
    bucket = bucket_of(milliseconds)
    histogram[bucket] = histogram.get(bucket, 0) + 1


def add(histogram: Histogram, other: Mapping[int, int]) -> None:
    """Count all that was counted elsewhere, too."""
    for bucket, times in other.items():
        histogram[bucket] = histogram.get(bucket, 0) + times


def within(histogram: Mapping[int, int], milliseconds: float) -> int:
    """How many latencies are no longer than that, to the width of a bucket."""
    return sum(times for bucket, times in histogram.items() if middle_of(bucket) <= milliseconds)


def quantile(histogram: Mapping[int, int], share: float, endless: int = 0) -> float | None:
    """The latency within which a share of all requests had their answer (nearest rank), in milliseconds.

    Args:
        histogram: Those that had one.
        share: In (0, 1].
        endless: How many never had one. They took longer than any other, and leaving them out would show the
            better a latency the fewer were answered.

    Returns:
        Infinity where the answer to that request never came; None where there were no requests.
    """
    total = sum(histogram.values()) + endless
    if not total:
        return None
    wanted = math.ceil(share * total)
    seen = 0
    for bucket in sorted(histogram):
        seen += histogram[bucket]
        if seen >= wanted:
            return middle_of(bucket)
    return math.inf
