"""AutoAttack by its authors (package pyautoattack) on a bundle, for whoever wants the reference itself.

It needs the extra ``autoattack``. The model is asked through its oracle, so that what is measured is the
graph that is served; see :mod:`holdfast.attacks.torch_bridge` for how its losses are differentiated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from holdfast.attacks.oracle import Oracle
from holdfast.errors import MissingExtraError

_NORMS = {"linf": "Linf", "l2": "L2"}


def reference_autoattack(
    oracle: Oracle,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    norm: Literal["linf", "l2"],
    epsilon: float,
    version: Literal["standard", "plus", "rand"] = "standard",
    attacks: Sequence[str] = (),
    seed: int = 0,
    batch_size: int = 250,
) -> np.ndarray:
    """Run pyautoattack's AutoAttack.

    Args:
        oracle: One that takes and gives numpy arrays.
        images: (n, c, h, w) float32 in [0, 1].
        labels: (n,) true classes.
        norm: How a perturbation is measured.
        epsilon: The budget, in image units.
        version: Which attacks are run.
        attacks: Their names instead: apgd-ce, apgd-dlr, apgd-t, fab, fab-t, square.
        seed: Of all that is random.
        batch_size: The most images that are worked on at a time.

    Returns:
        (n, c, h, w) float32: an adversarial image where one was found, else the image itself.

    Raises:
        MissingExtraError: torch or pyautoattack is not installed.
    """
    try:
        import torch
        from pyautoattack import AutoAttack

        from holdfast.attacks.torch_bridge import OracleModule
    except ImportError as error:
        raise MissingExtraError(
            error.name or "pyautoattack", "autoattack", "AutoAttack as its authors wrote it"
        ) from None
    attack = AutoAttack(
        OracleModule(oracle),
        norm=_NORMS[norm],
        eps=epsilon,
        seed=seed,
        version="custom" if attacks else version,
        attacks=list(attacks) or None,
    )
    adversarial, _ = attack.run_standard_evaluation(
        torch.tensor(images), torch.tensor(labels, dtype=torch.int64), batch_size=batch_size
    )
    found: np.ndarray = adversarial.numpy()
    return found
