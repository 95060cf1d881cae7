"""What the gateway's memory did, as figures and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from memory_load import Sample
from report import Sheet
from scipy.stats import theilslopes

#: The share of the requests that fill caches and pools first.
_SETTLING = 0.2
#: What slopes are told per.
PER = 100_000
_MIB = 2**20


@dataclass(frozen=True)
class Growth:
    """How memory went on after it had settled.

    Attributes:
        slope: Bytes per :data:`PER` requests (Theil and Sen).
        low: Of the slope's 95 % interval.
        high: Its upper end.
        start: Bytes before the first request.
        median: Bytes, after settling.
        peak: The most that was seen then.
        flat: Whether ``high`` is within the bound, and ``peak`` no further than it above the median.
    """

    slope: float
    low: float
    high: float
    start: int
    median: float
    peak: int
    flat: bool

    def as_json(self) -> dict[str, Any]:
        """For the results' file."""
        return asdict(self)


def settled(samples: Sequence[Sample]) -> list[Sample]:
    """The samples after the first fifth of the requests."""
    begin = samples[-1].requests * _SETTLING
    return [sample for sample in samples if sample.requests > begin]


def growth(samples: Sequence[Sample], bound: float) -> Growth:
    """How memory grew, if it did.

    The slope and its interval are Sen's (Estimates of the regression coefficient based on Kendall's tau,
    1968): the median of the slopes between all pairs of samples, which a single peak moves little.

    Args:
        samples: Over the whole run, at least a dozen.
        bound: Bytes per :data:`PER` requests that still count as flat.
    """
    rest = settled(samples)
    held = np.array([sample.rss for sample in rest], dtype=np.float64)
    found = theilslopes(held, [sample.requests for sample in rest], alpha=0.95)
    slope, low, high = (float(value) * PER for value in (found[0], found[2], found[3]))
    median, peak = float(np.median(held)), int(held.max())
    flat = high <= bound and peak - median <= bound
    return Growth(slope, low, high, samples[0].rss, median, peak, flat)


def growth_sheet(found: Growth, samples: Sequence[Sample]) -> Sheet:
    """The growth as a table."""
    sheet = Sheet(
        "Memory of the gateway's processes",
        ("", ">value"),
        "The growth is the Theil-Sen slope over the samples after the first fifth, with its 95 % interval.",
    )
    slope, low, high = (value / _MIB for value in (found.slope, found.low, found.high))
    sheet.add("before the first request, MiB", f"{found.start / _MIB:.1f}")
    sheet.add("median after the first fifth, MiB", f"{found.median / _MIB:.1f}")
    sheet.add("most after the first fifth, MiB", f"{found.peak / _MIB:.1f}")
    sheet.add(f"growth per {PER:,} requests, MiB", f"{slope:.2f} ({low:.2f} – {high:.2f})")
    first, last = settled(samples)[0], samples[-1]
    sheet.add("threads after the first fifth, and at the end", f"{first.threads}, {last.threads}")
    sheet.add("open files after the first fifth, and at the end", f"{first.files}, {last.files}")
    return sheet


def kind_sheet(answers: Mapping[str, int]) -> Sheet:
    """What was sent, as a table."""
    sheet = Sheet("What was sent", ("kind", ">requests"), "Each got the status that it must get.")
    for kind, count in sorted(answers.items(), key=lambda item: -item[1]):
        sheet.add(kind, f"{count:,}")
    return sheet
