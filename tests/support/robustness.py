"""Train a recipe on scikit-learn's digits, and see how the network holds under PGD."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from holdfast.attacks import PGDParameters, attack
from holdfast.attacks.torch_oracle import TorchOracle
from training import recipe
from training.checkpoint import CheckpointInfo, load_network
from training.data import load as load_data
from training.distributed import World
from training.models import Network
from training.trainer import Trainer


class Silent:
    """Nobody watches."""

    def started(self, info: CheckpointInfo, steps_per_epoch: int) -> None:
        pass

    def stepped(self, step: int, loss: float, learning_rate: float, images_per_second: float) -> None:
        pass

    def epoch_ended(self, epoch: int, step: int, measured: dict[str, float]) -> None:
        pass

    def saved(self, path: Path) -> None:
        pass


@dataclass(frozen=True)
class Accuracy:
    """Shares of the test images that are classified rightly.

    Attributes:
        clean: As they are.
        attacked: Each under the worse of two runs of PGD with 20 steps.
    """

    clean: float
    attacked: float


def make_trainer(directory: Path, name: str, overrides: Sequence[str] = ()) -> Trainer:
    """A run of a digits recipe that measures nothing on its way."""
    chosen = recipe.load(name, ["monitor.images=0", *overrides])
    return Trainer(chosen, load_data("digits"), directory, World(0, 1, torch.device("cpu")), Silent())


def train(directory: Path, name: str, overrides: Sequence[str] = ()) -> Network:
    """The network, in eval mode, that the recipe with these overrides ends with."""
    make_trainer(directory, name, overrides).run()
    return load_network(directory)[0]


def held_out(count: int) -> tuple[Tensor, Tensor]:
    """The first test images of the digits, and their labels."""
    split = load_data("digits").test.take(slice(0, count))
    return torch.from_numpy(split.images).float() / 255, torch.from_numpy(split.labels)


def accuracy(network: Network, epsilon: float = 0.15) -> Accuracy:
    """Of the test images, clean and under PGD within ``epsilon``."""
    images, labels = held_out(256)
    oracle = TorchOracle(network, network.classes)
    parameters = PGDParameters(norm="linf", epsilon=epsilon, steps=20, step_size=epsilon / 8, restarts=2)
    result = attack(oracle, images, labels, parameters, batch_size=len(labels))
    right = oracle.logits(images).argmax(1) == labels
    return Accuracy(right.float().mean().item(), 1 - result.success.float().mean().item())
