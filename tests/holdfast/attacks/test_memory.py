"""However many images there are, an attack's temporaries are those of one batch."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from support.attacks import QUICK, quick
from support.linear import Linear

from holdfast.attacks import AttackResult, attack

SHAPE, CLASSES, BATCH = (3, 20, 20), 5, 4
IMAGE = 4 * int(np.prod(SHAPE))

#: Fewer steps than usual: what an attack needs in memory, it needs in its first.
SHORT: dict[str, dict[str, Any]] = {
    "cw-l2": {"steps": 4, "searches": 2},
    "rays": {"query_budget": 30},
    "spsa": {"steps": 2, "samples": 4, "samples_per_call": 4},
    "square": {"query_budget": 20},
    "autoattack": {"steps": 2, "query_budget": 5},
}


def peak(name: str, norm: str, count: int, batch_size: int) -> tuple[int, AttackResult]:
    """The most bytes that an attack on so many images held at once, beside the images themselves."""
    model = Linear.random(SHAPE, CLASSES)
    images = np.random.default_rng(1).random((count, *SHAPE), dtype=np.float32)
    labels = model.logits(images).argmax(1)
    parameters = quick(name, epsilon=0.01, norm=norm, **SHORT.get(name, {}))
    tracemalloc.start()
    try:
        result = attack(model, images, labels, parameters, batch_size=batch_size)
        return tracemalloc.get_traced_memory()[1], result
    finally:
        tracemalloc.stop()


CASES = [
    (name, norm)
    for name in QUICK
    for norm in (["linf", "l2"] if "norm" in type(quick(name)).model_fields else ["any"])
]


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_more_images_cost_no_more_than_their_results(name: str, norm: str) -> None:
    few, many = 3 * BATCH, 15 * BATCH
    peak(name, norm, BATCH, BATCH)  # what is kept from one call to the next is nobody's temporary
    small, _ = peak(name, norm, few, BATCH)
    large, result = peak(name, norm, many, BATCH)
    assert len(result.images) == many
    # Of each image the result, once in its batch's and once in the whole, and some numbers about it.
    assert large - small <= (many - few) * (2 * IMAGE + 2_000)


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_a_smaller_batch_needs_less(name: str, norm: str) -> None:
    peak(name, norm, BATCH, BATCH)
    whole, _ = peak(name, norm, 8 * BATCH, 8 * BATCH)
    cut, _ = peak(name, norm, 8 * BATCH, BATCH)
    temporaries = cut - 8 * BATCH * 2 * IMAGE
    assert temporaries < 0.5 * whole
