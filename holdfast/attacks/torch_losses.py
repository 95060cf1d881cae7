"""The attacker's losses in torch: differentiated by autograd, and traced into ``gradient.onnx``."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from holdfast.attacks.loss import MINIMUM_CLASSES, Loss
from holdfast.attacks.oracle import UnsupportedLossError

#: Keeps the ratio of DLR finite where the sorted logits coincide (Croce & Hein's own constant).
_TINY = 1e-12
#: Larger than any difference of logits: takes a class out of a maximum.
_FAR = 1e9
#: As far as a logit is taken to go: less than what takes a class out of a maximum.
_FARTHEST = 1e8


def attack_loss(logits: Tensor, labels: Tensor, loss: Loss, targets: Tensor | None = None) -> Tensor:
    """One loss for each image, growing as the attack succeeds; the formulas stand in :class:`Loss`.

    Args:
        logits: (n, classes).
        labels: (n,) integers, the true classes.
        loss: Which loss.
        targets: (n,) integers; only for targeted losses.

    Returns:
        (n,).

    Raises:
        ValueError: A targeted loss without targets, or too few classes for the loss.
    """
    if logits.shape[1] < MINIMUM_CLASSES.get(loss, 2):
        raise UnsupportedLossError(f"loss {loss.label!r} needs at least {MINIMUM_CLASSES[loss]} classes")
    if not loss.targeted:
        return _UNTARGETED[loss](logits, labels)
    if targets is None:
        raise ValueError(f"loss {loss.label!r} needs targets")
    return _TARGETED[loss](logits, labels, targets)


def bounded(logits: Tensor) -> Tensor:
    """Logits to take a loss of: what is infinite, as that of a class that is masked out, only very large.

    A loss chooses a class by a product with 0 and 1, and of what is infinite that makes NaN. It is not in
    :func:`attack_loss` itself, whose operators are those of ``gradient.onnx``: the export refuses a network
    with such logits.

    Args:
        logits: (n, classes).
    """
    return logits.clamp(-_FARTHEST, _FARTHEST)


def _one_hot(classes: Tensor, like: Tensor) -> Tensor:
    # Not torch's own one_hot: that looks at its input's values, which a traced graph cannot do.
    return (classes.unsqueeze(1) == torch.arange(like.shape[1], device=like.device)).to(like.dtype)


def _of_class(values: Tensor, classes: Tensor) -> Tensor:
    # A product with one-hot, not a gather: a gather's derivative is a scatter, slow in ONNX Runtime.
    return (values * _one_hot(classes, values)).sum(1)


def _best_other(logits: Tensor, classes: Tensor) -> Tensor:
    return (logits - _FAR * _one_hot(classes, logits)).amax(1)


def _sorted(logits: Tensor, k: int) -> Tensor:
    """The k largest logits of each image, largest first."""
    return torch.topk(logits, k, dim=1).values


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return -_of_class(log_softmax(logits, dim=1), labels)


def _margin(logits: Tensor, labels: Tensor) -> Tensor:
    return _best_other(logits, labels) - _of_class(logits, labels)


def _dlr(logits: Tensor, labels: Tensor) -> Tensor:
    top = _sorted(logits, 3)
    return _margin(logits, labels) / (top[:, 0] - top[:, 2] + _TINY)


def _targeted_cross_entropy(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    del labels
    return _of_class(log_softmax(logits, dim=1), targets)


def _targeted_margin(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    del labels
    return _of_class(logits, targets) - _best_other(logits, targets)


def _targeted_dlr(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    top = _sorted(logits, 4)
    span = top[:, 0] - 0.5 * (top[:, 2] + top[:, 3]) + _TINY
    return (_of_class(logits, targets) - _of_class(logits, labels)) / span


def _difference(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    return _of_class(logits, targets) - _of_class(logits, labels)


_UNTARGETED = {Loss.CROSS_ENTROPY: _cross_entropy, Loss.MARGIN: _margin, Loss.DLR: _dlr}
_TARGETED = {
    Loss.TARGETED_CROSS_ENTROPY: _targeted_cross_entropy,
    Loss.TARGETED_MARGIN: _targeted_margin,
    Loss.TARGETED_DLR: _targeted_dlr,
    Loss.LOGIT_DIFFERENCE: _difference,
}
