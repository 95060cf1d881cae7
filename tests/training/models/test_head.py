"""Cosine heads: fixed centres, logits that are cosines, and the same classes by a linear layer."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from support.networks import make_network
from torch.nn.functional import cosine_similarity

from holdfast.errors import UsageError
from training.models import CosineHead, Network, as_linear, build, centres_of

FACTS = {"classes": 10, "channels": 1, "size": (8, 8), "mean": (0.5,), "std": (0.25,)}


@pytest.fixture
def network() -> Network:
    return make_network("small-cnn", channels=1, head="cosine", embedding=24, scale=4.0)


def images(count: int = 6) -> torch.Tensor:
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def test_the_logits_are_the_scaled_cosines_to_the_centres(network: Network) -> None:
    features = network.features(images())
    assert features.shape == (6, 24)
    centres = centres_of(network, "This test")
    expected = 4 * torch.stack([cosine_similarity(features, centre, dim=1) for centre in centres], 1)
    torch.testing.assert_close(network(images()), expected)


def test_the_centres_are_a_simplex_saved_with_the_weights_and_never_trained(network: Network) -> None:
    centres = network.state_dict()["head.centres"]
    cosines = centres @ centres.T
    np.testing.assert_allclose(cosines[~torch.eye(10, dtype=torch.bool)], -1 / 9, atol=1e-6)
    assert not any(name.startswith("head.") for name, _ in network.named_parameters())


def test_features_have_both_signs_although_a_body_ends_in_a_relu(network: Network) -> None:
    """With none below zero, no feature vector could point to a centre that has negative coordinates."""
    features = network.features(images())
    assert features.min() < 0 < features.max()
    body = build("small-cnn", head="cosine", **FACTS)
    assert body.embedding is not None
    assert body.width == body.embedding.out_features == 64


def test_a_network_is_its_saved_centres(network: Network) -> None:
    buffer = io.BytesIO()
    torch.save(network.state_dict(), buffer)
    buffer.seek(0)
    again = make_network("small-cnn", channels=1, head="cosine", embedding=24, scale=4.0, seed=7)
    assert isinstance(again.head, CosineHead)
    again.head.centres.neg_()
    again.load_state_dict(torch.load(buffer, weights_only=True))
    torch.testing.assert_close(again(images()), network(images()), rtol=0, atol=0)


@pytest.mark.parametrize("norm", [1.0, 10.0])
def test_the_linear_layer_of_section_3_3_gives_every_image_the_same_class(
    network: Network, norm: float
) -> None:
    linear = as_linear(network, norm)
    batch = images(200)
    assert (linear(batch).argmax(1) == network(batch).argmax(1)).all()
    features = network.features(batch)
    expected = norm * features.norm(dim=1, keepdim=True) * network(batch) / 4
    torch.testing.assert_close(linear(batch), expected, rtol=1e-4, atol=1e-4)
    assert isinstance(network.head, CosineHead), "it is left as it was"
    assert not linear.training


def test_the_linear_form_is_built_again_from_its_own_description(network: Network) -> None:
    again = build("small-cnn", head="linear", embedding=24, **FACTS)
    again.load_state_dict(as_linear(network).state_dict())
    torch.testing.assert_close(again.eval()(images()), as_linear(network)(images()))


def test_a_network_without_centres_is_answered_with_the_setting() -> None:
    with pytest.raises(UsageError) as caught:
        as_linear(make_network("small-cnn", channels=1))
    assert "model.head=cosine" in caught.value.hint


@pytest.mark.parametrize(
    "arguments", [{"head": "cosine", "embedding": 0}, {"head": "cosine", "scale": 0.0}, {"scale": 2.0}]
)
def test_arguments_that_make_no_head_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        build("small-cnn", **FACTS, **arguments)  # type: ignore[arg-type]


def test_a_linear_network_has_the_weights_and_the_names_that_it_always_had() -> None:
    torch.manual_seed(0)
    network = build("small-cnn", **FACTS)
    names = {name.split(".")[0] for name in network.state_dict()}
    assert names == {"normalise", "body", "head"}
    assert isinstance(network.head, torch.nn.Linear)


def test_bfloat16_bodies_have_float32_cosines() -> None:
    network = build("small-cnn", head="cosine", **FACTS).eval()
    exact = network(images())
    network.compute_dtype = torch.bfloat16
    rough = network(images())
    assert rough.dtype == torch.float32
    assert 0 < (rough - exact).abs().max() < 0.05


def test_more_classes_than_a_simplex_has_room_for_are_spread_over_the_sphere(tmp_path: Path) -> None:
    network = build("small-cnn", head="cosine", embedding=3, **(FACTS | {"classes": 6}))
    centres = centres_of(network, "This test")
    largest = (centres @ centres.T - 2 * torch.eye(6)).max().item()
    assert largest == pytest.approx(0, abs=1e-6)
