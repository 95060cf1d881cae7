"""Inference with manifold transformation (ATLD Sec. 4.2, eqs. 8 and 26): IMT, and IMT+ of Sec. 5.1.

    x_t = clip(x − ε_x · sign(∇_x log D⁰(f(x))), 0, 1)          then x_t is classified

D⁰ is the discriminator's probability that the image is adversarial. ε_x is ε; for IMT+ half of it where D⁰ is
within [0.3, 0.7]. This is the one place where it is written: the ONNX graphs are traced from it, TorchServe's
handler calls it, and attacks differentiate through it.

The gradient is taken of the manifold *logit* m, of which D⁰ is the sigmoid: log D⁰ = log σ(m), whose
derivative in m, 1 − D⁰, is positive, so both gradients have one sign. But 1 − D⁰ in floating point is 0 for a
confident discriminator, and the image would not move. Where the gradient of m is exactly 0, the pixel stays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

#: Images (n, c, h, w) to the logit of P(adversarial), (n,); each image's own, whatever its batch.
ManifoldLogit = Callable[[Tensor], Tensor]

#: How an attack differentiates through the transformation; see :func:`transform_for_attack`.
Through = Literal["bpda", "end-to-end"]


@dataclass(frozen=True)
class Transformed:
    """Images moved towards the natural.

    Attributes:
        images: (n, c, h, w) in [0, 1].
        logit: (n,), the manifold logit of the images as they came.
        step: (n,), how far each value of each image was moved, in image units, but for the clip.
    """

    images: Tensor
    logit: Tensor
    step: Tensor


def transform(
    manifold_logit: ManifoldLogit,
    images: Tensor,
    *,
    epsilon: float,
    halved: tuple[float, float] | None = None,
) -> Transformed:
    """IMT, or IMT+ with ``halved``; the gradient is autograd's.

    Works under ``no_grad`` and ``inference_mode`` of the caller.

    Args:
        manifold_logit: Of a network in eval mode.
        images: (n, c, h, w) in [0, 1].
        epsilon: The step, in image units.
        halved: The probabilities between which, both included, the step is halved; (0.3, 0.7) in the paper.

    Returns:
        The transformed images, detached.
    """
    # A clone outside inference mode: an inference tensor could not require a gradient.
    with torch.inference_mode(False), torch.enable_grad():
        leaf = images.detach().clone().requires_grad_()
        logit = manifold_logit(leaf)
        (gradient,) = torch.autograd.grad(logit.sum(), leaf)
    return move(images, logit.detach(), gradient, epsilon=epsilon, halved=halved)


def transform_traceably(
    manifold_logit: ManifoldLogit,
    images: Tensor,
    *,
    epsilon: float,
    halved: tuple[float, float] | None = None,
) -> Transformed:
    """The same as :func:`transform`, by ``torch.func``: its backward pass becomes part of a traced graph."""
    logit, backward = torch.func.vjp(manifold_logit, images)[:2]
    (gradient,) = backward(torch.ones_like(logit))
    return move(images, logit, gradient, epsilon=epsilon, halved=halved)


def transform_for_attack(
    manifold_logit: ManifoldLogit,
    images: Tensor,
    *,
    epsilon: float,
    halved: tuple[float, float] | None = None,
    through: Through = "bpda",
) -> Transformed:
    """The same values as :func:`transform`, with a derivative for whoever attacks through it.

    Args:
        manifold_logit: See :func:`transform`.
        images: (n, c, h, w), part of a graph that autograd records.
        epsilon: See :func:`transform`.
        halved: See :func:`transform`.
        through: ``bpda``: backward, the transformation is the identity (Athalye et al. 2018).
            ``end-to-end``: the manifold gradient is differentiated too, a second backward pass; the sign,
            whose derivative is 0, counts as a division by the gradient's mean magnitude, the clip as itself.
            A network of ReLUs is linear around almost every image, its manifold gradient constant there: for
            it this is ``bpda`` but for the clip.

    Returns:
        Images and logit with a graph behind them.
    """
    if through == "bpda":
        found = transform(manifold_logit, images, epsilon=epsilon, halved=halved)
        return Transformed(images + (found.images - images).detach(), found.logit, found.step)
    logit = manifold_logit(images)
    (gradient,) = torch.autograd.grad(logit.sum(), images, create_graph=True)
    size = (
        gradient.detach().abs().mean(dim=(1, 2, 3), keepdim=True).clamp_min(torch.finfo(gradient.dtype).tiny)
    )
    smooth = gradient / size
    signs = smooth + (torch.sign(gradient) - smooth).detach()
    step = step_sizes(logit.detach(), epsilon=epsilon, halved=halved)
    moved = torch.clamp(images - step[:, None, None, None] * signs, 0, 1)
    return Transformed(moved, logit, step)


def move(
    images: Tensor,
    logit: Tensor,
    gradient: Tensor,
    *,
    epsilon: float,
    halved: tuple[float, float] | None = None,
) -> Transformed:
    """The step itself (eq. 26), from a manifold logit (n,) and its gradient in the images (n, c, h, w)."""
    step = step_sizes(logit, epsilon=epsilon, halved=halved)
    moved = torch.clamp(images - step[:, None, None, None] * torch.sign(gradient), 0, 1)
    return Transformed(moved, logit, step)


def step_sizes(logit: Tensor, *, epsilon: float, halved: tuple[float, float] | None = None) -> Tensor:
    """ε for each image, (n,): half of it where the score is within ``halved`` (Sec. 5.1)."""
    whole = torch.full_like(logit, epsilon)
    if halved is None:
        return whole
    score = torch.sigmoid(logit)
    within = (score >= halved[0]) & (score <= halved[1])
    return torch.where(within, whole / 2, whole)


def classify_transformed(
    network: Any, images: Tensor, *, epsilon: float, halved: tuple[float, float] | None = None
) -> tuple[Tensor, Transformed]:
    """The logits of the transformed images, (n, classes), and what was done to them.

    Args:
        network: Called with images for logits; its method ``manifold_logit`` gives the manifold logit.
        images: (n, c, h, w) in [0, 1].
        epsilon: See :func:`transform`.
        halved: See :func:`transform`.
    """
    found = transform(network.manifold_logit, images, epsilon=epsilon, halved=halved)
    return network(found.images), found
