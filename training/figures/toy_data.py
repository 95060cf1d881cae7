"""Two-dimensional data for the papers' toy figures, as "images" of two channels and one pixel.

That way the methods, the attacks and the defence that draw the figures are those that train real networks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.datasets import make_moons
from torch import Tensor, nn

from holdfast.attacks.noise import TorchNoise
from training.methods import Method, find
from training.models.network import Network, Normalise

#: Within this the points are perturbed, in units of the unit square.
EPSILON = 0.09
_NOISE = 0.09
_WIDTH = 64
_BATCH = 60


@dataclass(frozen=True)
class Points:
    """Points in the unit square and their classes.

    Attributes:
        images: (n, 2, 1, 1).
        labels: (n,).
    """

    images: Tensor
    labels: Tensor

    def coordinates(self) -> np.ndarray:
        """(n, 2)."""
        return np.asarray(self.images[:, :, 0, 0].numpy())


def moons(points: int, seed: int) -> Points:
    """Two interleaved half circles, scaled into the unit square."""
    coordinates, labels = make_moons(points, noise=_NOISE, random_state=seed)
    scaled = (coordinates - [0.5, 0.25]) / 3.6 + 0.5
    images = torch.tensor(scaled, dtype=torch.float32).clamp(0, 1)[:, :, None, None]
    return Points(images, torch.tensor(labels))


def grid(side: int, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Points on a square grid, (side², 2, 1, 1): the first coordinate fastest."""
    axis = torch.linspace(low, high, side)
    second, first = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([first.reshape(-1), second.reshape(-1)], 1)[:, :, None, None]


def make_network(seed: int) -> Network:
    """A perceptron with two hidden layers, in the form that every method trains."""
    torch.manual_seed(seed)
    body = nn.Sequential(nn.Flatten(), nn.Linear(2, _WIDTH), nn.ReLU(), nn.Linear(_WIDTH, _WIDTH), nn.ReLU())
    return Network(Normalise([0.5, 0.5], [0.2, 0.2]), body, _WIDTH, 2)


@dataclass(frozen=True)
class Trained:
    """A network and the method that trained it, with the method's other networks."""

    method: Method  # type: ignore[type-arg]
    network: Network


def train(
    name: str,
    data: Points,
    *,
    steps: int,
    seed: int = 0,
    network: Network | None = None,
    **parameters: object,
) -> Trained:
    """Train by a method of :mod:`training.methods`, with Adam.

    Args:
        name: The method.
        data: What to train on.
        steps: Batches of 60 points, drawn with replacement.
        seed: Of the weights, the batches and the noise.
        network: A trained network to keep as it is: only the method's own companions learn.
        parameters: The method's.
    """
    kind = find(name)
    method = kind(kind.Parameters.model_validate(parameters))
    trained = network or make_network(seed)
    torch.manual_seed(seed)
    method.companions(trained)
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(trained.parameters(), 2e-3)
    for _ in range(steps):
        chosen = torch.randint(len(data.labels), (_BATCH,), generator=generator)
        trained.train()
        loss = method.loss(trained, data.images[chosen], data.labels[chosen], TorchNoise(generator))
        if network is None:
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return Trained(method, trained.eval())
