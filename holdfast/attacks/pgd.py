"""FGSM (Goodfellow et al. 2015) and PGD (Madry et al. 2018): steps along the gradient inside a ball."""

from __future__ import annotations

from typing import Annotated, Literal

from array_api_compat import array_namespace
from pydantic import BaseModel, ConfigDict, Field

from holdfast.attacks.ball import Ball, ball
from holdfast.attacks.loss import Loss
from holdfast.attacks.noise import Noise
from holdfast.attacks.oracle import Array, Counted, Oracle
from holdfast.attacks.result import AttackResult, Progress, conclude, silent, zero_gradient_flag
from holdfast.units import Budget

#: CW here is PGD on the margin of the logits, as FS and ATLD evaluate it.
LossName = Literal["ce", "cw", "dlr"]


class FGSMParameters(BaseModel):
    """One step of the whole budget along the sign of the gradient."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    norm: Literal["linf", "l2"] = "linf"
    epsilon: Budget = 8 / 255
    random_start: Annotated[bool, Field(description="Start at a random image of the ball, as FS does.")] = (
        False
    )
    loss: Annotated[LossName, Field(description="ce: cross-entropy, cw: margin, dlr: logit ratio.")] = "ce"


class PGDParameters(FGSMParameters):
    """Steps of a fixed size, each followed by a projection onto the ball."""

    steps: Annotated[int, Field(ge=1, le=10_000, description="Gradient steps of one run.")] = 20
    step_size: Annotated[Budget, Field(description="Length of one step, in image units.")] = 2 / 255
    random_start: Annotated[bool, Field(description="Start at a random image of the ball.")] = True
    restarts: Annotated[
        int, Field(ge=1, le=1_000, description="Runs; an image is lost if any run fools it.")
    ] = 1
    stop_at_success: Annotated[
        bool,
        Field(description="Keep the first image that fools the model; if not, the last one of the run (FS)."),
    ] = True


def fgsm(
    oracle: Oracle,
    images: Array,
    labels: Array,
    parameters: FGSMParameters,
    noise: Noise,
    *,
    targets: Array | None = None,
    progress: Progress = silent,
) -> AttackResult:
    """One gradient step of length ε; see :func:`pgd` for the arguments."""
    single = PGDParameters(
        **parameters.model_dump(), steps=1, step_size=parameters.epsilon, stop_at_success=False
    )
    return pgd(oracle, images, labels, single, noise, targets=targets, progress=progress)


def pgd(
    oracle: Oracle,
    images: Array,
    labels: Array,
    parameters: PGDParameters,
    noise: Noise,
    *,
    targets: Array | None = None,
    progress: Progress = silent,
) -> AttackResult:
    """Projected gradient ascent on the loss, over restarts.

    Args:
        oracle: The model under attack.
        images: (n, c, h, w) in [0, 1].
        labels: (n,) true classes; with ``targets``, the classes to leave.
        parameters: Budget, steps and loss.
        noise: Where random starts come from.
        targets: (n,) classes to reach; the attack is targeted where they are given.
        progress: Called after every step.

    Returns:
        For each image the first run's result that fools the model, else the last run's.
    """
    counted = Counted(oracle)
    xp = array_namespace(images)
    region = ball(parameters.norm, parameters.epsilon)
    loss = Loss.from_label(parameters.loss)
    loss = loss if targets is None else loss.for_target()
    total = parameters.restarts * parameters.steps
    found = xp.zeros_like(labels, dtype=xp.bool)
    adversarial = images
    zeros = seen = 0
    for run in range(parameters.restarts):
        start = region.random(images, noise) if parameters.random_start else images
        current = xp.where(_each(found), adversarial, start)
        for step in range(parameters.steps):
            answer = counted.gradient(current, labels, loss, targets)
            fooled = _fooled(answer.logits, labels, targets)
            if parameters.stop_at_success:
                found = found | fooled
            # Only where the model still holds: DLR is constant, rightly, once the label has come third.
            held = ~(fooled | found)
            blind = xp.max(xp.abs(answer.gradient), axis=(1, 2, 3)) == 0
            zeros += int(xp.sum(xp.astype(blind & held, xp.int64)))
            seen += int(xp.sum(xp.astype(held, xp.int64)))
            moved = region.step(current, answer.gradient, parameters.step_size, images)
            current = xp.where(_each(found), current, moved)
            progress(run * parameters.steps + step + 1, total)
        adversarial = current
        if run + 1 < parameters.restarts:
            found = found | _fooled(counted.logits(adversarial), labels, targets)
    return conclude(counted, images, adversarial, labels, targets, zero_gradient_flag(zeros, seen))


def ascend(
    oracle: Oracle,
    start: Array,
    centre: Array,
    labels: Array,
    region: Ball,
    *,
    steps: int,
    step_size: float,
    loss: Loss = Loss.CROSS_ENTROPY,
) -> Array:
    """The inner loop alone, for training: every image takes every step, and nothing waits for the host."""
    images = start
    for _ in range(steps):
        gradient = oracle.gradient(images, labels, loss).gradient
        images = region.step(images, gradient, step_size, centre)
    return images


def _fooled(logits: Array, labels: Array, targets: Array | None) -> Array:
    xp = array_namespace(logits)
    predicted = xp.argmax(logits, axis=1)
    return predicted == targets if targets is not None else predicted != labels


def _each(mask: Array) -> Array:
    """A vector over images, shaped to select whole images."""
    return mask[:, None, None, None]
