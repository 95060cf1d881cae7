"""Optimal transport between two batches of features: the cost, the plan, the distance (FS, Sec. 3.1).

Everything here runs a fixed number of operations: nothing waits for the host, and nothing depends on data but
the numbers.
"""

from __future__ import annotations

from training.transport.cost import cosine_cost
from training.transport.distance import matching_distance, stack_groups
from training.transport.ipot import ipot
from training.transport.matching import MatchingOptions, make_plan
from training.transport.sinkhorn import sinkhorn

__all__ = [
    "MatchingOptions",
    "cosine_cost",
    "ipot",
    "make_plan",
    "matching_distance",
    "sinkhorn",
    "stack_groups",
]
