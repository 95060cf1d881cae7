"""Random draws as a function of where they are used."""

from __future__ import annotations

import numpy as np
import pytest

from training.data.draws import Stream, below, permutation, words


def test_words_never_change_between_releases() -> None:
    # The contract of exact resume: whoever changes these breaks every run that is under way.
    assert [f"{word:016x}" for word in words(2, seed=1, stream=Stream.ORDER, index=3)] == [
        "c958e2248975e356",
        "6c5ac2e90c764691",
    ]


def test_a_longer_draw_begins_with_the_shorter_one() -> None:
    short = words(5, seed=2, stream=Stream.AUGMENTATION)
    np.testing.assert_array_equal(words(900, seed=2, stream=Stream.AUGMENTATION)[:5], short)


def test_seed_stream_and_index_each_give_other_words() -> None:
    draws = [
        words(1, seed=seed, stream=stream, index=index)[0]
        for seed in (0, 1)
        for stream in Stream
        for index in (0, 1)
    ]
    assert len(set(draws)) == len(draws)


def test_a_permutation_holds_every_number_once() -> None:
    order = permutation(1000, seed=0, stream=Stream.ORDER)
    assert order.dtype == np.int64
    assert sorted(order) == list(range(1000)) != list(order)


@pytest.mark.parametrize("limit", [1, 2, 9, 17])
def test_numbers_below_a_limit_cover_it_evenly(limit: int) -> None:
    every = np.linspace(0, 2**24 - 1, 10_000).astype(np.uint64)
    counts = np.bincount(below(limit, every), minlength=limit)
    assert len(counts) == limit
    assert counts.max() - counts.min() <= 2
