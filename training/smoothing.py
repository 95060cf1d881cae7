"""The papers' label smoothing, in torch's terms."""

from __future__ import annotations


def torch_smoothing(smoothing: float, classes: int) -> float:
    """What ``label_smoothing`` of :func:`torch.nn.functional.cross_entropy` is for the papers' δ.

    FS, FS-GAN and ATLD put 1 − δ on the true class and δ / (K − 1) on each other; torch spreads its smoothing
    over all K classes, the true one too, so that δ there is δ · K / (K − 1).

    Args:
        smoothing: δ, from 0 to (K − 1) / K.
        classes: K, at least 2.
    """
    return smoothing * classes / (classes - 1)
