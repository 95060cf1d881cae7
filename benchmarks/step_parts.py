"""What a training step is made of, each part by itself: what runs in the network, and all else."""

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
from holdfast.attacks.torch_mat import bibo, ftc, so
from holdfast.errors import UsageError
from training.methods.feature_scattering import FeatureScattering
from training.methods.mat import MAT
from training.methods.pgd_at import PGDAdversarialTraining
from training.methods.standard import Standard
from training.models.head import centres_of
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


def parts_of(trainer: Trainer) -> Parts:
    """The parts of the trainer's step.

    Raises:
        UsageError: Nobody has said what a step of this method is made of.
    """
    if isinstance(trainer.method, MAT):
        return _parts_of_mat(trainer, trainer.method)
    works = _Works(trainer)
    method = trainer.method
    network = {"forward and backward, train mode": Piece(works.train)}
    after = {"loss": Piece(works.loss), "optimiser": Piece(works.optimise)}
    if trainer.average is not None:
        after["average of the weights"] = Piece(works.average)
    if isinstance(method, Standard):
        return Parts(network, after, forwards=1, backwards=1)
    if not isinstance(method, FeatureScattering | PGDAdversarialTraining):
        raise UsageError(
            f"The parts of a step of {trainer.recipe.method['name']} are not known.",
            hint="Say what they are in benchmarks/step_parts.py.",
        )
    steps = method.parameters.steps
    attack = {
        "forward and backward to the images, eval mode": Piece(works.adversarial, False).repeated(steps)
    }
    before = {"random start": Piece(works.start)}
    projection = {"projection": Piece(works.project).repeated(steps)}
    if isinstance(method, FeatureScattering):
        clean = {"clean forward, eval mode": Piece(works.clean, training=False)}
        transport = {"transport": Piece(works.transport).repeated(steps)}
        other = before | transport | projection | after
        return Parts(clean | attack | network, other, forwards=2 + steps, backwards=1 + steps)
    if not method.parameters.random_start:
        before = {}
    attack_loss = {"loss of the attack": Piece(works.attack_loss).repeated(steps)}
    other = before | attack_loss | projection | after
    return Parts(attack | network, other, forwards=1 + steps, backwards=1 + steps)


def _parts_of_mat(trainer: Trainer, method: MAT) -> Parts:
    """MAT's step: its inner PGD, and an outer pass over the clean batch and the one that was found."""
    works, p = _MATWorks(trainer, method), method.parameters
    after = {"loss": Piece(works.loss), "optimiser": Piece(works.optimise)}
    if trainer.average is not None:
        after["average of the weights"] = Piece(works.average)
    if not p.beta:
        network = {"forward and backward, train mode": Piece(works.train)}
        return Parts(network, after, forwards=1, backwards=1)
    joint = p.forwards == "joint"
    network = {
        "clean forward, eval mode": Piece(works.clean, training=False),
        "forward and backward to the images, eval mode": Piece(works.adversarial, False).repeated(p.steps),
        "forward and backward of both batches, train mode": Piece(works.joint if joint else works.separate),
    }
    attack = {
        "start": Piece(works.start),
        "loss of the attack": Piece(works.attack_loss).repeated(p.steps),
        "projection": Piece(works.project).repeated(p.steps),
    }
    outer = 1 if joint else 2
    return Parts(network, attack | after, forwards=1 + p.steps + outer, backwards=p.steps + outer)


class _Works:
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
        self._run(self._images).backward(self._cotangent)

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


class _MATWorks(_Works):
    """MAT's pieces: its losses are of the features, not of the logits, and there are two batches."""

    def __init__(self, trainer: Trainer, method: MAT) -> None:
        super().__init__(trainer)
        self._method = method
        self._centres = centres_of(self._network, "MAT")

    def _forward(self) -> Callable[[Tensor], Tensor]:
        return self._network.features

    def separate(self) -> None:
        self._network.zero_grad(set_to_none=True)
        both = [self._run(self._images), self._run(self._scattered)]
        torch.autograd.backward(both, [self._cotangent, self._cotangent])

    def joint(self) -> None:
        self._network.zero_grad(set_to_none=True)
        features = self._run(torch.cat([self._images, self._scattered]))
        features.backward(torch.cat([self._cotangent, self._cotangent]))

    def start(self) -> None:
        noise = self._trainer.noise.normal(self._images)
        torch.add(self._images, noise, alpha=self._parameters.start_noise)

    def project(self) -> None:
        self._region.step(self._scattered, self._gradient, self._parameters.step_size, self._images)

    def attack_loss(self) -> None:
        leaf = self._moved.detach().requires_grad_()
        torch.autograd.grad(bibo(leaf, self._logits).sum(), leaf)

    def loss(self) -> None:
        p = self._parameters
        clean, moved = (features.detach().requires_grad_() for features in (self._logits, self._moved))
        loss = ftc(clean, self._labels, self._centres).mean()
        if p.alpha:
            loss = loss + p.alpha * so(clean, self._labels, self._centres).mean()
        if p.beta:
            loss = loss + p.beta * bibo(moved, clean).mean()
        torch.autograd.grad(loss, [clean, moved] if p.beta else [clean])
