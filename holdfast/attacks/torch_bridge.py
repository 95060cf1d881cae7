"""An oracle as a torch module: for attack libraries that differentiate losses of their own.

An oracle gives the gradients of a few losses of the logits, not of any. It is enough: a loss with the slopes
s_k along the logits has the gradient Σ s_k ∇z_k, and every loss that does not change when a constant is added
to all logits, as those of a classification do not, has Σ s_k = 0. Its gradient is then Σ s_k ∇(z_k − z_r) for
any class r: a sum of differences of logits, whose gradients an oracle knows. The slopes of cross-entropy are
recognised and cost one gradient; others cost one for each class with a slope but r: two or three for DLR.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import one_hot, softmax

from holdfast.attacks.loss import Loss
from holdfast.attacks.oracle import Oracle

#: Slopes apart by less than this share of the largest are the same slopes.
_SAME = 1e-4


class OracleModule(nn.Module):
    """Images to logits less the first logit, differentiable once.

    The subtraction makes output and derivative fit together without a condition: what comes out is a true
    function of the images, its derivative is exact for any loss, and no softmax, margin or prediction is
    changed by it.

    Args:
        oracle: One that takes and gives numpy arrays, such as
            :class:`holdfast.attacks.onnx_oracle.OnnxOracle`.
    """

    def __init__(self, oracle: Oracle) -> None:
        super().__init__()
        self.oracle = oracle
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Images (n, c, h, w) in [0, 1] to (n, classes)."""
        logits: Tensor = _Logits.apply(images, self.oracle)
        return logits


class _Logits(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, oracle: Oracle) -> Tensor:
        logits = torch.from_numpy(np.array(oracle.logits(images.detach().cpu().numpy()))).to(images.device)
        relative = logits - logits[:, :1]
        ctx.save_for_backward(images, relative)
        ctx.oracle = oracle
        return relative

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slopes: Tensor) -> tuple[Tensor, None]:
        images, relative = ctx.saved_tensors
        gradient = _product(ctx.oracle, images.detach().cpu().numpy(), relative.cpu(), slopes.cpu())
        return torch.from_numpy(gradient).to(images.device), None


def _product(oracle: Oracle, images: np.ndarray, relative: Tensor, slopes: Tensor) -> np.ndarray:
    """Σ_k slopes_k ∇(z_k − z_0) of each image, (n, c, h, w)."""
    labels = slopes.argmin(1)
    expected = softmax(relative, 1) - one_hot(labels, slopes.shape[1])
    largest = slopes.abs().amax(1)
    plain = ((slopes - expected).abs().amax(1) <= _SAME * largest).numpy()
    gradient = np.zeros_like(images)
    rows = np.flatnonzero(plain)
    if len(rows):
        answer = oracle.gradient(images[rows], labels.numpy()[rows], Loss.CROSS_ENTROPY)
        gradient[rows] = answer.gradient
    # Where the slopes sum to 0, any class may be what the others are measured from: the label saves most.
    balanced = slopes.sum(1).abs() <= _SAME * largest
    bases = torch.where(balanced, labels, 0).numpy()
    weights = slopes.numpy()
    for other in range(weights.shape[1]):
        rows = np.flatnonzero(~plain & (weights[:, other] != 0) & (bases != other))
        if len(rows):
            targets = np.full(len(rows), other, dtype=np.int64)
            answer = oracle.gradient(images[rows], bases[rows], Loss.LOGIT_DIFFERENCE, targets)
            gradient[rows] += weights[rows, other, None, None, None] * answer.gradient
    return gradient
