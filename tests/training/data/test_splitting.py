"""The split of labelled images into training and test."""

from __future__ import annotations

import numpy as np
import pytest

from training.data.errors import DataError
from training.data.splitting import split_by_class


def test_every_image_is_on_one_side_only() -> None:
    labels = np.random.default_rng(0).integers(0, 5, 200)
    train, test = split_by_class(labels, 0.3, seed=0)
    assert sorted([*train, *test]) == list(range(200))


def test_each_class_gives_its_share() -> None:
    labels = np.repeat(np.arange(3), (10, 50, 100))
    _, test = split_by_class(labels, 0.2, seed=0)
    np.testing.assert_array_equal(np.bincount(labels[test]), [2, 10, 20])


def test_a_small_class_is_on_both_sides() -> None:
    labels = np.array([0, 0, 1, 1, 1])
    for fraction in (0.01, 0.99):
        train, test = split_by_class(labels, fraction, seed=0)
        assert set(labels[train]) == set(labels[test]) == {0, 1}


def test_another_seed_holds_out_other_images_and_the_same_seed_the_same() -> None:
    labels = np.arange(100) % 4
    first, same, other = (split_by_class(labels, 0.2, seed=seed)[1].tolist() for seed in (0, 0, 1))
    assert first == same != other


def test_classes_are_not_held_out_in_step_with_one_another() -> None:
    labels = np.repeat(np.arange(2), 100)
    _, test = split_by_class(labels, 0.2, seed=0)
    assert test[:20].tolist() != (test[20:] - 100).tolist()


def test_a_class_of_one_image_cannot_be_split() -> None:
    with pytest.raises(DataError, match="Class 1 has 1 image"):
        split_by_class(np.array([0, 0, 1]), 0.5, seed=0)
