"""Carrying out one attack on images, wherever that happens: in a worker of the gateway, in TorchServe's."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from holdfast.attacking.tracing import Trace, Tracer
from holdfast.attacks import attack, attack_of
from holdfast.attacks.arrays import like, to_numpy
from holdfast.attacks.oracle import Array, Oracle
from holdfast.attacks.parameters import AttackParameters
from holdfast.attacks.problem import Check, Progress, silent, unhindered
from holdfast.attacks.result import AttackResult


@dataclass(frozen=True)
class Attacked:
    """What came of an attack on n images; all arrays are numpy's.

    Attributes:
        result: The engine's.
        labels: (n,) the classes that were to be left.
        trace: The way of the first image, if it was asked for.
    """

    result: AttackResult
    labels: NDArray[np.int64]
    trace: Trace | None = None


def execute(
    oracle: Oracle,
    images: Array,
    labels: NDArray[np.int64] | None,
    parameters: AttackParameters,
    *,
    trace: int = 0,
    batch_size: int = 128,
    progress: Progress = silent,
    check: Check = unhindered,
) -> Attacked:
    """Attack images.

    Args:
        oracle: The model, behind the defence that is attacked.
        images: (n, channels, height, width) in [0, 1], as the oracle takes them.
        labels: (n,) the classes to leave; ``None`` for what the model says of each image.
        parameters: The attack's.
        trace: Images of the first image's way to keep at most, of those that the attack itself tries; 0 for
            none.
        batch_size: See :func:`holdfast.attacks.attack`.
        progress: See :func:`holdfast.attacks.attack`.
        check: See :func:`holdfast.attacks.attack`.

    Raises:
        UnsupportedLossError: The model has not got what the attack asks of it.
        HoldfastError: The model answers with NaN.
    """
    if labels is None:
        labels = to_numpy(oracle.logits(images)).argmax(axis=1)
    labels = np.asarray(labels, dtype=np.int64)
    tracer = None
    if trace:
        tracer = Tracer(gradients=attack_of(parameters).access == "gradient", most=trace)
    result = attack(
        oracle,
        images,
        like(labels, images),
        parameters,
        batch_size=batch_size,
        progress=progress,
        check=check,
        watch=tracer,
    )
    return Attacked(on_host(result), labels, None if tracer is None else tracer.trace)


def on_host(result: AttackResult) -> AttackResult:
    """The same result with numpy arrays."""
    return replace(
        result,
        images=to_numpy(result.images),
        success=to_numpy(result.success),
        survives_rounding=to_numpy(result.survives_rounding),
        logits_before=to_numpy(result.logits_before),
        logits=to_numpy(result.logits),
        linf=to_numpy(result.linf),
        l2=to_numpy(result.l2),
        targets=None if result.targets is None else to_numpy(result.targets),
    )
