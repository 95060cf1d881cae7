"""Small defended models of scikit-learn's digits: with ATLD's discriminator, and with MAT's class centres."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from support.digits import SHAPE, digits, train_digits
from support.networks import randomise

from holdfast.attacks.torch_mat import ftc
from holdfast.manifest import (
    Architecture,
    Dataset,
    Discriminator,
    InputSpec,
    ThreatModel,
    TrainingRun,
    Transformation,
)
from training.export import Facts, HeldOut, Weights, export_bundle
from training.models import CosineHead, Network, build, centres_of
from training.models.defended import DefendedNetwork
from training.models.discriminator import build_discriminator

EPSILON = 0.1
JUDGE = "mlp-1-16"


def judged_network() -> DefendedNetwork:
    """A network that knows its digits, with a discriminator that nobody trained."""
    network = train_digits()
    discriminator = build_discriminator(JUDGE, inputs=network.width, classes=network.classes)
    randomise(discriminator, seed=3)
    features = network.features(torch.from_numpy(digits()[0][:200])).detach()
    with torch.no_grad():
        # Scores all over (0, 1), so that both of IMT+'s steps are taken.
        logits = discriminator(features)[0]
        discriminator.head.weight[0] /= logits.std() / 2
        discriminator.head.bias[0] = -logits.mean() / (logits.std() / 2)
        discriminator.head.bias[0] += -discriminator(features)[0].mean()
    return DefendedNetwork(network, discriminator, "features").eval().requires_grad_(False)


def centred_network() -> Network:
    """A network that knows its digits by the nearest of ten centres."""
    torch.manual_seed(0)
    network = build(
        "small-cnn", classes=10, channels=1, size=SHAPE[1:], mean=[0.3], std=[0.38], head="cosine"
    )
    images, labels = (torch.from_numpy(array) for array in digits())
    optimiser = torch.optim.Adam(network.parameters(), 2e-3)
    for _ in range(4):
        for batch in torch.randperm(1500).split(100):
            optimiser.zero_grad()
            ftc(network.features(images[batch]), labels[batch], centres_of(network, "FTC")).mean().backward()
            optimiser.step()
    return network.eval().requires_grad_(False)


def make_defended_bundle(
    store: Path, network: Network, name: str, *, weights: Weights = "float32", torchscript: bool = False
) -> Path:
    """Export into the model store; return the bundle's directory. A network without a defence is fine too."""
    judged, centred = isinstance(network, DefendedNetwork), isinstance(network.head, CosineHead)
    facts = Facts(
        method="atld" if judged else "mat" if centred else "standard",
        recipe={},
        dataset=Dataset(name="digits", train_images=1500),
        classes=[str(digit) for digit in range(10)],
        input=InputSpec(channels=1, height=8, width=8),
        architecture=Architecture(name="small-cnn"),
        threat_model=ThreatModel(norm="linf", epsilon=EPSILON),
        training=TrainingRun(epochs=4, steps=60, seed=0, hardware="cpu", seconds=1.0),
        head="cosine" if centred else "linear",
        discriminator=Discriminator(architecture=JUDGE, latent="features") if judged else None,
        imt=Transformation(epsilon=EPSILON) if judged else None,
    )
    images, labels = digits()
    return export_bundle(
        network,
        name=name,
        version="1",
        store=store,
        facts=facts,
        calibration_images=images[:16],
        held_out=HeldOut(images[1500:], labels[1500:]),
        weights=weights,
        torchscript=torchscript,
    )


def last_digits(count: int) -> tuple[np.ndarray, np.ndarray]:
    """The last digits, which no network here was trained on, and their labels."""
    images, labels = digits()
    return images[-count:], labels[-count:]
