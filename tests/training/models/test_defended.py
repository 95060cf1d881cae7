"""A classifier with its discriminator is one network."""

from __future__ import annotations

import pytest
import torch
from support.networks import make_network, randomise
from torch import nn

from training.models.defended import DefendedNetwork, Latent
from training.models.discriminator import build_discriminator


def make(latent: Latent, discriminator: str = "wrn-10-1") -> tuple[nn.Module, DefendedNetwork]:
    network = make_network("small-cnn", classes=5)
    judge = build_discriminator(
        discriminator, inputs=network.width if latent == "features" else network.classes, classes=5
    )
    randomise(judge, seed=1)
    return network, DefendedNetwork(network, judge.requires_grad_(False), latent).eval()


@pytest.mark.parametrize("latent", ["features", "logits"])
def test_it_classifies_as_the_classifier_and_judges_its_latents(latent: Latent) -> None:
    network, defended = make(latent)
    images = torch.rand(6, 3, 8, 8)
    logits, manifold = defended.classify_and_judge(images)
    torch.testing.assert_close(logits, network(images))
    torch.testing.assert_close(defended(images), logits)
    torch.testing.assert_close(defended.manifold_logit(images), manifold)
    latents = network.features(images) if latent == "features" else network(images)  # type: ignore[operator]
    torch.testing.assert_close(manifold, defended.discriminator(latents)[0])
    assert manifold.shape == (6,)


def test_each_image_is_judged_by_itself() -> None:
    _, defended = make("features")
    images = torch.rand(6, 3, 8, 8)
    together = defended.manifold_logit(images)
    for image, expected in zip(images, together, strict=True):
        torch.testing.assert_close(defended.manifold_logit(image[None])[0], expected)


def test_its_tensors_are_the_classifiers_and_the_discriminators_under_a_prefix() -> None:
    network, defended = make("features")
    expected = dict(network.state_dict())
    expected |= {f"discriminator.{key}": value for key, value in defended.discriminator.state_dict().items()}
    found = defended.state_dict()
    assert found.keys() == expected.keys()
    assert all(found[key].data_ptr() == expected[key].data_ptr() for key in found)


def test_a_head_or_an_embedding_of_the_classifiers_own_is_kept() -> None:
    network = make_network("small-cnn", classes=5, head="cosine", embedding=12)
    judge = build_discriminator("mlp-1-8", inputs=12, classes=5)
    defended = DefendedNetwork(network, judge, "features").eval()
    images = torch.rand(4, 3, 8, 8)
    torch.testing.assert_close(defended(images), network(images))
    assert defended.features(images).shape == (4, 12)
