"""What a training step is made of, each part by itself: what runs in the network, and all else."""

from __future__ import annotations

from collections.abc import Callable

import torch
from step_atld import parts_of_atld
from step_pieces import Parts, Piece, Works
from torch import Tensor

from holdfast.attacks.torch_mat import bibo, ftc, so
from holdfast.errors import UsageError
from training.methods.atld import ATLD
from training.methods.feature_scattering import FeatureScattering
from training.methods.mat import MAT
from training.methods.pgd_at import PGDAdversarialTraining
from training.methods.standard import Standard
from training.models.head import centres_of
from training.trainer import Trainer


def parts_of(trainer: Trainer) -> Parts:
    """The parts of the trainer's step.

    Raises:
        UsageError: Nobody has said what a step of this method is made of.
    """
    if isinstance(trainer.method, MAT):
        return _parts_of_mat(trainer, trainer.method)
    if isinstance(trainer.method, ATLD):
        return parts_of_atld(trainer, trainer.method)
    works = Works(trainer)
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
    perturbation = getattr(method.parameters, "perturbation", None)
    if perturbation == "random":
        return Parts(network, before | after, forwards=1, backwards=1)
    if perturbation == "feature-scatter":
        clean = {"clean forward, eval mode": Piece(works.clean, training=False)}
        transport = {"transport": Piece(works.transport).repeated(steps)}
        other = before | transport | projection | after
        return Parts(clean | attack | network, other, forwards=2 + steps, backwards=1 + steps)
    if isinstance(method, PGDAdversarialTraining) and not method.parameters.random_start:
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


class _MATWorks(Works):
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
        features.backward(torch.cat([self._cotangent, self._cotangent]))  # type: ignore[no-untyped-call]

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
