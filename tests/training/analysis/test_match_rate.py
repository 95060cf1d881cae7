"""The match rate on features whose clusters are known."""

from __future__ import annotations

import numpy as np
import pytest

from holdfast.errors import UsageError
from training.analysis import Clusters

PLACES = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]], dtype=np.float32)


def blobs(each: int = 20, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Points around three places, and the number of the place."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(3), each)
    return (PLACES[labels] + random.normal(0, 0.3, (3 * each, 2))).astype(np.float32), labels


def test_features_that_cluster_by_their_class_match_wholly() -> None:
    features, predictions = blobs()
    clusters = Clusters.ward(features, predictions)
    assert clusters.match_rate(features, predictions) == 1.0
    assert sorted(clusters.dominant.tolist()) == [0, 1, 2]
    assert clusters.sizes.tolist() == [20, 20, 20]
    order = np.argsort(clusters.dominant)
    np.testing.assert_allclose(clusters.means[order], PLACES, atol=0.3)


def test_predictions_that_stray_into_another_classs_cluster_do_not_match() -> None:
    features, predictions = blobs()
    predictions = predictions.copy()
    predictions[:3] = 1  # three of the first twenty are predicted as another class
    clusters = Clusters.ward(features, predictions)
    assert clusters.match_rate(features, predictions) == pytest.approx(57 / 60)


def test_images_under_attack_are_looked_up_in_the_clusters_of_the_clean_ones() -> None:
    features, predictions = blobs()
    clusters = Clusters.ward(features, predictions)
    # Five feature vectors at the first place and five at the second: the network calls all of them class 1.
    moved = np.concatenate([np.tile(PLACES[0], (5, 1)), np.tile(PLACES[1], (5, 1))])
    assert clusters.match_rate(moved, np.ones(10, dtype=np.int64)) == pytest.approx(0.5)


def test_a_far_away_point_belongs_to_the_nearest_mean() -> None:
    features, predictions = blobs()
    clusters = Clusters.ward(features, predictions)
    far = np.array([[1e4, 0.0], [0.0, 1e4]], dtype=np.float32)
    assert clusters.dominant[clusters.closest(far)].tolist() == [1, 2]


def test_the_number_of_clusters_is_as_asked_and_at_most_that_of_the_images() -> None:
    features, predictions = blobs()
    assert len(Clusters.ward(features, predictions, count=7).sizes) == 7
    whole = Clusters.ward(features, predictions, count=1)
    assert whole.match_rate(features, predictions) == pytest.approx(1 / 3)
    one = Clusters.ward(features[:1], predictions[:1])
    assert one.match_rate(features[:1], predictions[:1]) == 1.0
    with pytest.raises(UsageError, match="61 clusters"):
        Clusters.ward(features, predictions, count=61)


def test_elongated_clusters_are_told_apart_by_wards_criterion() -> None:
    """Single linkage would chain along the two lines; Ward's keeps them apart."""
    along = np.linspace(0, 4, 40, dtype=np.float32)
    lines = np.concatenate([np.stack([along, np.zeros(40)], 1), np.stack([along, np.full(40, 6.0)], 1)])
    predictions = np.repeat([0, 1], 40)
    clusters = Clusters.ward(lines.astype(np.float32), predictions)
    assert clusters.match_rate(lines.astype(np.float32), predictions) == 1.0
