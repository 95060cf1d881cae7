"""The pieces of a training step that methods have in common, each as a function of nothing to be timed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from holdfast.attacks.ball import ball
from holdfast.attacks.loss import Loss
from holdfast.attacks.torch_losses import attack_loss
from training.methods.feature_scattering import FeatureScattering
from training.models.network import evaluating
from training.trainer import Trainer


@dataclass(frozen=True)
class Piece:
    """Something to measure.

    Attributes:
        work: What is timed.
        training: The mode that the network is put into before that.
    """

    work: Callable[[], object]
    training: bool = True

    def repeated(self, times: int) -> Piece:
        """The same so many times in a row."""

        def work() -> None:
            for _ in range(times):
                self.work()

        return Piece(work, self.training)


@dataclass(frozen=True)
class Parts:
    """The parts of one step.

    Attributes:
        network: Forwards and backwards; the step cannot do without them.
        other: Everything else that it does.
        forwards: Forwards in the network.
        backwards: Backwards.
    """

    network: Mapping[str, Piece]
    other: Mapping[str, Piece]
    forwards: int
    backwards: int

    def describe(self) -> str:
        """How many forwards and backwards there are."""
        return f"{self.forwards} forwards and {self.backwards} backwards"


class Works:
    """Each piece of a step as a function of nothing, over tensors that are there already.

    Backwards begin with a fixed gradient of the logits, so that no loss is measured with the network.
    """

    def __init__(self, trainer: Trainer) -> None:
        self._trainer, self._network = trainer, trainer.network
        self._run = self._forward()
        self._images, self._labels = next(trainer.batches.epoch(0))
        self._parameters: Any = trainer.method.parameters
        epsilon = getattr(self._parameters, "epsilon", 0.0)
        self._region = ball(getattr(self._parameters, "norm", "linf"), epsilon)
        with evaluating(self._network), torch.no_grad():
            self._logits = self._run(self._images)
        self._cotangent = torch.full_like(self._logits, 1 / self._logits.numel())
        # Of another image's logits something, so that the cost of the transport is not zero.
        self._moved = 0.9 * self._logits + 0.1 * self._logits.roll(1, 0)
        self._scattered = self._region.random(self._images, trainer.noise)
        self._gradient = torch.randn_like(self._images)

    def _forward(self) -> Callable[[Tensor], Tensor]:
        """What of the network the step runs: all of it."""
        return self._network

    def clean(self) -> None:
        with torch.no_grad():
            self._run(self._images)

    def adversarial(self) -> None:
        leaf = self._images.detach().requires_grad_()
        torch.autograd.grad(self._run(leaf), leaf, self._cotangent)

    def train(self) -> None:
        self._network.zero_grad(set_to_none=True)
        self._run(self._images).backward(self._cotangent)  # type: ignore[no-untyped-call]

    def start(self) -> None:
        self._region.random(self._images, self._trainer.noise)

    def project(self) -> None:
        self._region.step(self._scattered, self._gradient, self._parameters.epsilon, self._images)

    def transport(self) -> None:
        leaf = self._moved.detach().requires_grad_()
        method = self._trainer.method
        if not isinstance(method, FeatureScattering):
            raise TypeError("there is no transport in this method")
        torch.autograd.grad(method.distance(self._logits, leaf), leaf)

    def attack_loss(self) -> None:
        leaf = self._logits.detach().requires_grad_()
        torch.autograd.grad(attack_loss(leaf, self._labels, Loss.CROSS_ENTROPY, None).sum(), leaf)

    def loss(self) -> None:
        leaf = self._logits.detach().requires_grad_()
        smoothing = self._parameters.label_smoothing
        torch.autograd.grad(cross_entropy(leaf, self._labels, label_smoothing=smoothing), leaf)

    def optimise(self) -> None:
        """With the gradients that the train mode's backward has left."""
        self._trainer.optimiser.step()

    def average(self) -> None:
        if self._trainer.average is not None:
            self._trainer.average.update(self._network, self._trainer.step)
