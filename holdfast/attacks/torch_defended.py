"""Oracles over defended torch networks: adaptive attacks on IMT and IMT+, and on MAT's training loss."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from holdfast.attacks.loss import AdaptiveLoss, AnyLoss, Loss
from holdfast.attacks.oracle import BOTH, FORWARD, GradientAnswer, UnsupportedLossError
from holdfast.attacks.parameters import Cost
from holdfast.attacks.torch_losses import attack_loss, bounded
from holdfast.attacks.torch_mat import bibo, ftc, so
from holdfast.attacks.torch_oracle import TorchOracle
from holdfast.manifold import Through, classify_transformed, transform_for_attack


class JudgingNetwork(Protocol):
    """A classifier with a discriminator, in eval mode."""

    classes: int

    def __call__(self, images: Tensor) -> Tensor:
        """Logits (n, classes) of images (n, c, h, w)."""

    def manifold_logit(self, images: Tensor) -> Tensor:
        """The logit of P(adversarial), (n,)."""


class TransformedOracle:
    """Attack a network behind IMT or IMT+, through the transformation.

    Beside the losses of the logits it has :attr:`AdaptiveLoss.MANIFOLD`, which makes the image look natural
    to the discriminator before it is transformed; ``ce+manifold`` is the joint attack.

    Args:
        network: With its discriminator.
        epsilon: IMT's step, in image units.
        halved: Scores between which IMT+ halves it; None for IMT.
        through: How the transformation is differentiated; see :func:`holdfast.manifold.transform_for_attack`.
    """

    dynamic = True

    def __init__(
        self,
        network: JudgingNetwork,
        *,
        epsilon: float,
        halved: tuple[float, float] | None = None,
        through: Through = "bpda",
    ) -> None:
        self._network = network
        self._epsilon = epsilon
        self._halved = halved
        self._through: Through = through

    @property
    def classes(self) -> int:
        """How many classes the model tells apart."""
        return self._network.classes

    def passes(self, loss: AnyLoss | None) -> Cost:
        """See :func:`holdfast.attacks.oracle.passes`: a gradient moves the image, then it is classified."""
        if loss is AdaptiveLoss.MANIFOLD:
            return BOTH + BOTH + FORWARD  # the logits are asked for apart
        if loss is None:
            return BOTH + FORWARD
        # End to end it goes back through the gradient that moves the image, too, and through what that is of.
        return BOTH + BOTH + Cost(forwards=0, backwards=2 if self._through == "end-to-end" else 0)

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """See :meth:`holdfast.attacks.oracle.Oracle.logits`; of the transformed images."""
        logits, _ = classify_transformed(self._network, images, epsilon=self._epsilon, halved=self._halved)
        return logits.float()

    def gradient(
        self,
        images: Tensor,
        labels: Tensor,
        loss: AnyLoss,
        targets: Tensor | None = None,
        originals: Tensor | None = None,
    ) -> GradientAnswer:
        """See :meth:`holdfast.attacks.oracle.Oracle.gradient`."""
        del originals
        if isinstance(loss, AdaptiveLoss) and loss is not AdaptiveLoss.MANIFOLD:
            raise UnsupportedLossError(f"this model has no loss {loss.value!r}: it has no class centres")
        # A clone outside inference mode: an inference tensor could not require a gradient.
        with torch.inference_mode(False), torch.enable_grad():
            leaf = images.detach().clone().requires_grad_()
            if isinstance(loss, AdaptiveLoss):
                losses = -self._network.manifold_logit(leaf)
                (gradient,) = torch.autograd.grad(losses.sum(), leaf)
                return GradientAnswer(self.logits(images), losses.detach(), gradient)
            found = transform_for_attack(
                self._network.manifold_logit,
                leaf,
                epsilon=self._epsilon,
                halved=self._halved,
                through=self._through,
            )
            logits = self._network(found.images).float()
            losses = attack_loss(bounded(logits), labels, loss, targets)
            (gradient,) = torch.autograd.grad(losses.sum(), leaf)
        return GradientAnswer(logits.detach(), losses.detach(), gradient)


class CentredNetwork(Protocol):
    """A classifier by class centres, in eval mode."""

    classes: int

    def features(self, images: Tensor) -> Tensor:
        """φ, (n, d), of images (n, c, h, w)."""

    def classify(self, features: Tensor) -> Tensor:
        """Logits (n, classes) of φ."""

    def __call__(self, images: Tensor) -> Tensor:
        """Logits (n, classes) of images (n, c, h, w)."""


class CentredOracle(TorchOracle):
    """Attack a network of class centres, also on the losses that MAT trains it with (MAT Sec. 4.4).

    ``ftc+so+bibo``, weighted as the model was trained, is MAT's own adaptive attack.

    Args:
        network: MAT's or MMC's.
        centres: (classes, d), of any length.
    """

    def __init__(self, network: CentredNetwork, centres: Tensor) -> None:
        super().__init__(network, network.classes)
        self._network = network
        self._centres = centres

    def passes(self, loss: AnyLoss | None) -> Cost:
        """See :func:`holdfast.attacks.oracle.passes`."""
        if loss is None:
            return FORWARD
        return BOTH + FORWARD if loss is AdaptiveLoss.BIBO else BOTH

    def gradient(
        self,
        images: Tensor,
        labels: Tensor,
        loss: AnyLoss,
        targets: Tensor | None = None,
        originals: Tensor | None = None,
    ) -> GradientAnswer:
        """See :meth:`holdfast.attacks.oracle.Oracle.gradient`."""
        if isinstance(loss, Loss) or loss is AdaptiveLoss.MANIFOLD:
            return super().gradient(images, labels, loss, targets)
        with torch.inference_mode(False), torch.enable_grad():
            leaf = images.detach().clone().requires_grad_()
            features = self._network.features(leaf)
            if loss is AdaptiveLoss.BIBO:
                if originals is None:
                    raise ValueError(f"loss {loss.value!r} needs the original images")
                with torch.no_grad():
                    clean = self._network.features(originals)
                losses = bibo(features, clean)
            else:
                losses = (ftc if loss is AdaptiveLoss.FTC else so)(features, labels, self._centres)
            (gradient,) = torch.autograd.grad(losses.sum(), leaf)
            logits = self._network.classify(features.detach()).float()
        return GradientAnswer(logits.detach(), losses.detach(), gradient)
