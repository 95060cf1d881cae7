"""What a training step of ATLD is made of."""

from __future__ import annotations

from collections.abc import Callable

import torch
from step_pieces import Parts, Piece, Works
from torch import Tensor
from torch.nn.functional import cross_entropy, logsigmoid, mse_loss

from holdfast.errors import UsageError
from training.methods.atld import ATLD
from training.models.network import evaluating
from training.trainer import Trainer


def parts_of_atld(trainer: Trainer, method: ATLD) -> Parts:
    """Its attack, a pass over the clean batch and the adversarial one, and the discriminator's steps."""
    works, p = _ATLDWorks(trainer, method), method.parameters
    both = {"forward and backward of both batches, train mode": Piece(works.joint)}
    passes = 1
    if p.batch_norm == "apart":
        if p.invariance == "manifold":
            raise UsageError(
                "The parts of a step of atld with batch_norm=apart are known for invariance=logits alone.",
                hint="Say what they are in benchmarks/step_parts.py.",
            )
        both = {
            "clean forward, eval mode": Piece(works.clean, training=False),
            "forward, two backwards to the images and one whole, train mode": Piece(works.balanced),
        }
        passes = 2
    attack = "forward and backward to the images, eval mode"
    network = {attack: Piece(works.adversarial, False).repeated(p.steps)} | both
    other = {"random start": Piece(works.start)} if p.random_start else {}
    other |= {
        "discriminator in the attack": Piece(works.judge).repeated(p.steps),
        "projection": Piece(works.project).repeated(p.steps),
        "discriminator's own steps": Piece(works.learn).repeated(p.discriminator_steps),
        "loss": Piece(works.loss),
        "optimiser": Piece(works.optimise),
    }
    if trainer.average is not None:
        other["average of the weights"] = Piece(works.average)
    backwards = p.steps + (1 if passes == 1 else 3)
    return Parts(network, other, forwards=p.steps + passes, backwards=backwards)


class _ATLDWorks(Works):
    """ATLD's pieces: what the discriminator judges is the latents, and there are two batches."""

    def __init__(self, trainer: Trainer, method: ATLD) -> None:
        self._method = method
        super().__init__(trainer)

    def _forward(self) -> Callable[[Tensor], Tensor]:
        latent = self._method.parameters.latent
        return self._network.features if latent == "features" else self._network

    def joint(self) -> None:
        self._network.zero_grad(set_to_none=True)
        latents = self._run(torch.cat([self._images, self._scattered]))
        latents.backward(torch.cat([self._cotangent, self._cotangent]))  # type: ignore[no-untyped-call]

    def balanced(self) -> None:
        self._network.zero_grad(set_to_none=True)
        leaf = self._scattered.detach().requires_grad_()
        latents = self._run(leaf)
        for _ in range(2):
            torch.autograd.grad(latents, leaf, self._cotangent, retain_graph=True)
        latents.backward(self._cotangent)  # type: ignore[no-untyped-call]

    def project(self) -> None:
        size = self._parameters.step_size
        size = self._parameters.epsilon if size is None else size
        self._region.step(self._scattered, self._gradient, size, self._images)

    def judge(self) -> None:
        judge = self._method.discriminator.network
        leaf = self._moved.detach().requires_grad_()
        with evaluating(judge):
            torch.autograd.grad(logsigmoid(judge(leaf)[0]).sum(), leaf)

    def learn(self) -> None:
        companion = self._method.discriminator
        companion.descend(self._method.discriminator_loss(self._logits, self._moved, self._labels))

    def loss(self) -> None:
        """From the latents on: the classifier's last layer where they are features, and both terms."""
        clean, moved = (latents.detach().requires_grad_() for latents in (self._logits, self._moved))
        smoothing = self._parameters.label_smoothing
        logits = self._network.classify(moved) if self._parameters.latent == "features" else moved
        loss = cross_entropy(logits, self._labels, label_smoothing=smoothing)
        if self._parameters.invariance == "manifold" and self._parameters.invariance_weight:
            loss = loss + self._method.invariance_loss(clean, moved)
        elif self._parameters.invariance_weight:
            loss = loss + mse_loss(moved, clean.detach())
        torch.autograd.grad(loss, [clean, moved], allow_unused=True)
