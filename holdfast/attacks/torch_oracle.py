"""The oracle over a torch module: gradients by autograd."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from holdfast.attacks.loss import AdaptiveLoss, AnyLoss
from holdfast.attacks.oracle import GradientAnswer, UnsupportedLossError
from holdfast.attacks.torch_losses import attack_loss, bounded


class TorchOracle:
    """Attack a torch function of images.

    Args:
        logits: Images (n, c, h, w) to logits (n, classes), differentiable. It is called as it is: put the
            network into eval mode first.
        classes: How many classes it tells apart.
    """

    def __init__(self, logits: Callable[[Tensor], Tensor], classes: int) -> None:
        self._logits = logits
        self._classes = classes

    @property
    def classes(self) -> int:
        """How many classes the model tells apart."""
        return self._classes

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """See :meth:`holdfast.attacks.oracle.Oracle.logits`."""
        return self._logits(images).float()

    def gradient(
        self,
        images: Tensor,
        labels: Tensor,
        loss: AnyLoss,
        targets: Tensor | None = None,
        originals: Tensor | None = None,
    ) -> GradientAnswer:
        """See :meth:`holdfast.attacks.oracle.Oracle.gradient`."""
        del originals  # only for losses that a plain network has not got
        if isinstance(loss, AdaptiveLoss):
            raise UnsupportedLossError(f"this model has no loss {loss.value!r}; it is not defended that way")
        # A clone outside inference mode: an inference tensor could not require a gradient.
        with torch.inference_mode(False), torch.enable_grad():
            leaf = images.detach().clone().requires_grad_()
            logits = self._logits(leaf).float()
            losses = attack_loss(bounded(logits), labels, loss, targets)
            (gradient,) = torch.autograd.grad(losses.sum(), leaf)
        return GradientAnswer(logits.detach(), losses.detach(), gradient)
