"""Features of many images, taken in eval mode, batch by batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.networks import make_network, random_images

from training.analysis import cosine_statistics, features_of
from training.models import centres_of


def test_features_and_logits_are_those_of_the_network_whatever_the_batches() -> None:
    network = make_network("small-cnn", channels=1, head="cosine")
    images = random_images(7, (1, 8, 8))
    found = features_of(network, images, batch_size=3)
    with torch.no_grad():
        expected = network.features(torch.from_numpy(images))
        logits = network(torch.from_numpy(images))
    np.testing.assert_allclose(found.vectors, expected.numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.logits, logits.numpy(), rtol=1e-5, atol=1e-5)
    assert (found.predictions == logits.argmax(1).numpy()).all()


def test_a_network_that_is_training_is_looked_at_in_eval_mode_and_goes_on_training() -> None:
    network = make_network("small-cnn", channels=1).train()
    images = random_images(4, (1, 8, 8))
    first = features_of(network, images)
    assert network.training
    np.testing.assert_array_equal(first.vectors, features_of(network, images).vectors)


def test_the_mean_cosine_is_the_mean_of_the_largest_logit_of_a_cosine_head() -> None:
    network = make_network("small-cnn", channels=1, head="cosine", scale=2.0)
    found = features_of(network, random_images(50, (1, 8, 8)))
    centres = centres_of(network, "This test").numpy()
    statistics = cosine_statistics(found.vectors, found.predictions, centres)
    largest = found.logits.max(1) / 2
    expected = np.mean([largest[found.predictions == label].mean() for label in statistics.classes])
    assert statistics.mean == pytest.approx(expected, abs=1e-5)


def test_no_images_have_no_features() -> None:
    with pytest.raises(ValueError, match="no images"):
        features_of(make_network("small-cnn", channels=1), random_images(0, (1, 8, 8)))
