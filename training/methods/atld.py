"""ATLD ("Improving Model Robustness with Latent Distribution Locally and Globally", under review at ICLR
2021). Three players: adversarial images, a discriminator D, the classifier f. For each batch (eqs. 7, 24):

    L_d(x', x) = log D⁰(f(x')) + log(1 − D⁰(f(x)))            D⁰: the probability that x is an attacked image
    x_adv = x + ε · sign(∇_x L_d)                                      images: ascend L_d
    D:  max L_d − l(D^{1:C}(f(x)), y) − l(D^{1:C}(f(x_adv)), y)        discriminator: ascend L_d, name classes
    f:  min l(f(x_adv), y) + L_d                                       classifier: descend L_d, classify

No label takes part in making the images. (The paper prints L_d with ``1 − log D⁰`` for its second half; the
divergence that it is derived from, eq. 3, has ``log(1 − D⁰)``.)

The authors' program (LitterQ/ATLD-pytorch) differs from the text; each choice is a parameter of its own.

- D judges the logits (``latent: logits``), and takes two steps for each of the classifier's.
- The classifier does not descend L_d at all, but w · s · MSE(f(x_adv), f(x)) of the logits, f(x) held fixed,
  with s = max|∂l/∂x_adv| / max|∂MSE/∂x_adv| anew for each batch (``invariance: logits``), w = 1/2, or 1/10 on
  CIFAR-100. (The program forgets the magnitudes' bars.) It needs ``batch_norm: apart``.
- x_adv starts at a random image of the ball, as our default does, eq. 24 at x (``random_start: false``).
- D's first output is the probability that an image is *natural*. Here it is P(adversarial), as in the paper.

Modes of batch norm (``batch_norm``). The classifier is attacked in eval mode, always.

- ``joint``, ours: clean and adversarial images go through the classifier as one batch in train mode, and
  their latents through D as one batch in train mode, when D learns and when the classifier descends L_d. (In
  eval mode there, D's statistics lag behind, and the classifier runs from them: L_d fell without end.) In the
  attack D is in eval mode, as it is when images are transformed at inference.
- ``apart``, the program's: D learns from clean latents in eval mode and adversarial ones in train mode, so
  that the mode alone tells it something, and is itself always in train mode, on one kind at a time.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn.functional import cross_entropy, logsigmoid, mse_loss

from holdfast.attacks.ball import LInfBall
from holdfast.attacks.noise import Noise
from holdfast.errors import UsageError
from holdfast.units import Budget
from training.methods.companion import Companion
from training.methods.method import Method, MethodParameters, Paper
from training.models.defended import DefendedNetwork, Latent, latents_of
from training.models.discriminator import build_discriminator
from training.models.network import Network, evaluating
from training.smoothing import torch_smoothing

#: Keeps the ratio of two gradients finite where the second vanishes.
_TINY = 1e-12


class Parameters(MethodParameters):
    """The paper's values (Sec. 5) where it gives them, else those of the authors' program."""

    epsilon: Annotated[Budget, Field(description="Sec. 5: 8/255.")] = 8 / 255
    steps: Annotated[int, Field(ge=1, le=100, description="Gradient steps to x_adv; eq. 24: 1.")] = 1
    step_size: Annotated[Budget | None, Field(description="Eq. 24 steps by epsilon, the default.")] = None
    random_start: Annotated[bool, Field(description="Begin anywhere in the ball; eq. 24 begins at x.")] = True
    label_smoothing: Annotated[
        float, Field(ge=0, lt=1, description="Probability taken from the true class; Sec. 5: 0.5.")
    ] = 0.5
    latent: Annotated[
        Latent, Field(description="What D judges; App. A: the last hidden layer; the program: the logits.")
    ] = "features"
    invariance: Annotated[
        Literal["manifold", "logits"],
        Field(description="The classifier's second term; eq. 7: L_d; the program: the logits' distance."),
    ] = "manifold"
    invariance_weight: Annotated[
        float, Field(ge=0, description="On that term; eq. 7: 1; the program: 1/2, on CIFAR-100 1/10.")
    ] = 1.0
    discriminator: Annotated[
        str, Field(description="wrn-<depth>-<widen> or mlp-<layers>-<width>; the program: wrn-28-5.")
    ] = "wrn-28-5"
    discriminator_steps: Annotated[
        int, Field(ge=1, le=100, description="D's steps for each of the classifier's; the program: 2.")
    ] = 1
    discriminator_learning_rate: Annotated[float, Field(gt=0, description="The program's, constant.")] = 1e-3
    discriminator_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    discriminator_weight_decay: Annotated[float, Field(ge=0)] = 2e-4
    batch_norm: Annotated[
        Literal["joint", "apart"],
        Field(description="Clean and adversarial images in one batch, or, as in the program, apart."),
    ] = "joint"

    @model_validator(mode="after")
    def _balance_needs_two_modes(self) -> Parameters:
        if self.invariance == "logits" and self.batch_norm == "joint":
            raise ValueError(
                "invariance=logits needs batch_norm=apart: with both kinds of images in one batch the "
                "classifier ends at constant logits, the more strongly drawn there by s the nearer it is"
            )
        return self


class _Seen(NamedTuple):
    """Of a batch, the classifier's latent vectors (n, d) and logits (n, C)."""

    latents: Tensor
    logits: Tensor


class _Verdict(NamedTuple):
    """Of a batch, the discriminator's manifold logits (n,) and class logits (n, C)."""

    manifold: Tensor
    classes: Tensor


class ATLD(Method[Parameters]):
    """Adversarial training with latent distribution."""

    Parameters = Parameters
    paper = Paper(
        authors="Qian, Zhang, Huang, Wang, Zhang & Yi",
        title="Improving Model Robustness with Latent Distribution Locally and Globally",
        venue="arXiv",
        year=2021,
    )

    def companions(self, network: Network) -> dict[str, Companion]:
        """The discriminator, which is exported with the classifier."""
        p = self.parameters
        inputs = network.width if p.latent == "features" else network.classes
        self._judge = build_discriminator(p.discriminator, inputs=inputs, classes=network.classes)
        optimiser = torch.optim.SGD(
            self._judge.parameters(),
            lr=p.discriminator_learning_rate,
            momentum=p.discriminator_momentum,
            weight_decay=p.discriminator_weight_decay,
        )
        self.discriminator = Companion(self._judge, optimiser, exported=True)
        self._told_apart: Tensor | None = None
        return {"discriminator": self.discriminator}

    def readings(self) -> dict[str, float]:
        """The share of the last step's images, clean and adversarial, that D took for what they were."""
        return {} if self._told_apart is None else {"told apart": self._told_apart.item()}

    def exported(self, network: Network) -> DefendedNetwork:
        """The classifier with its discriminator."""
        return DefendedNetwork(network, self._judge, self.parameters.latent)

    def loss(self, network: Network, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        """Make the adversarial batch, let D learn from it, and judge the classifier on it (eq. 7)."""
        p = self.parameters
        if p.invariance == "logits" and network.body._compiled_call_impl is not None:
            raise UsageError(
                "ATLD with method.invariance=logits goes through the network backwards three times, which a "
                "compiled network's backward pass cannot.",
                hint="Set compile=false.",
            )
        moved = self.perturb(network, images, noise).requires_grad_(p.invariance == "logits")
        of_clean, of_moved = self._look(network, images, moved)
        for _ in range(p.discriminator_steps):
            loss = self.discriminator_loss(of_clean.latents.detach(), of_moved.latents.detach(), labels)
            self.discriminator.descend(loss)
        wrong = self._cross_entropy(of_moved.logits, labels)
        if not p.invariance_weight:
            return wrong
        if p.invariance == "logits":
            distance = mse_loss(of_moved.logits, of_clean.logits.detach())
            return wrong + p.invariance_weight * _balance(wrong, distance, moved) * distance
        return wrong + p.invariance_weight * self.invariance_loss(of_clean.latents, of_moved.latents)

    def perturb(self, network: Network, images: Tensor, noise: Noise) -> Tensor:
        """Move the images so that their latents are easiest to tell from clean ones (eqs. 7, 24).

        Args:
            network: In any mode; it is attacked in eval mode.
            images: (n, c, h, w).
            noise: For the random start.

        Returns:
            (n, c, h, w), detached.
        """
        p = self.parameters
        region = LInfBall(p.epsilon)
        step_size = p.epsilon if p.step_size is None else p.step_size
        moved: Tensor = region.random(images, noise) if p.random_start else images
        apart = p.batch_norm == "apart"
        with evaluating(network), nullcontext() if apart else evaluating(self._judge):
            for _ in range(p.steps):
                leaf = moved.detach().requires_grad_()
                manifold, _ = self._judge(latents_of(network, network.features(leaf), p.latent))
                # The other half of L_d does not depend on x'.
                (gradient,) = torch.autograd.grad(logsigmoid(manifold).sum(), leaf)
                moved = region.step(moved, gradient, step_size, images)
        return moved.detach()

    def discriminator_loss(self, clean: Tensor, moved: Tensor, labels: Tensor) -> Tensor:
        """What D descends: −L_d, and the cross-entropy of the classes that it names (eq. 7).

        Args:
            clean: Latents of the clean images, (n, d), detached.
            moved: Latents of the adversarial images, (n, d), detached.
            labels: (n,).
        """
        of_clean, of_moved = self._judge_both(clean, moved)
        right = torch.cat([of_clean.manifold < 0, of_moved.manifold > 0])
        self._told_apart = right.float().mean()
        named = self._cross_entropy(of_clean.classes, labels) + self._cross_entropy(of_moved.classes, labels)
        return named - manifold_loss(of_clean.manifold, of_moved.manifold)

    def invariance_loss(self, clean: Tensor, moved: Tensor) -> Tensor:
        """L_d as the classifier descends it: D's weights stand still (eq. 7).

        Args:
            clean: Latents of the clean images, (n, d).
            moved: Latents of the adversarial images, (n, d).
        """
        with self.discriminator.frozen():
            of_clean, of_moved = self._judge_both(clean, moved)
        return manifold_loss(of_clean.manifold, of_moved.manifold)

    def _look(self, network: Network, images: Tensor, moved: Tensor) -> tuple[_Seen, _Seen]:
        """What the classifier makes of the clean and of the adversarial images."""
        if self.parameters.batch_norm == "joint":
            features = network.features(torch.cat([images, moved]))
            clean_features, moved_features = features.chunk(2)
        else:
            wanted = self.parameters.invariance == "manifold"
            with evaluating(network), torch.set_grad_enabled(wanted):
                clean_features = network.features(images)
            moved_features = network.features(moved)
        clean_logits, moved_logits = network.classify(clean_features), network.classify(moved_features)
        if self.parameters.latent == "features":
            return _Seen(clean_features, clean_logits), _Seen(moved_features, moved_logits)
        return _Seen(clean_logits, clean_logits), _Seen(moved_logits, moved_logits)

    def _judge_both(self, clean: Tensor, moved: Tensor) -> tuple[_Verdict, _Verdict]:
        """What D makes of the clean and of the adversarial latents."""
        if self.parameters.batch_norm == "apart":
            return _Verdict(*self._judge(clean)), _Verdict(*self._judge(moved))
        manifold, classes = self._judge(torch.cat([clean, moved]))
        n = len(clean)
        return _Verdict(manifold[:n], classes[:n]), _Verdict(manifold[n:], classes[n:])

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        smoothing = torch_smoothing(self.parameters.label_smoothing, logits.shape[1])
        return cross_entropy(logits, labels, label_smoothing=smoothing)


def manifold_loss(clean: Tensor, moved: Tensor) -> Tensor:
    """L_d = mean log D⁰(f(x_adv)) + mean log(1 − D⁰(f(x))) (eq. 6); at most 0, and −2 log 2 for a blind D.

    Args:
        clean: D's manifold logits of clean images, (n,).
        moved: Those of adversarial images, (n,).
    """
    return logsigmoid(moved).mean() + logsigmoid(-clean).mean()


def _balance(wrong: Tensor, distance: Tensor, moved: Tensor) -> Tensor:
    """The program's s: how much steeper the loss is in the adversarial images than the distance."""
    (of_wrong,) = torch.autograd.grad(wrong, moved, retain_graph=True)
    (of_distance,) = torch.autograd.grad(distance, moved, retain_graph=True)
    return of_wrong.abs().max() / of_distance.abs().max().clamp_min(_TINY)


METHOD = ATLD
