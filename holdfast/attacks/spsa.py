"""SPSA (Uesato et al. 2018, Algorithm 1): gradient ascent on a gradient that is estimated from scores alone.

Sound where gradients are masked: a difference of the margin over a step of δ sees through quantised,
saturated and non-differentiable layers that a derivative does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import numpy as np
from pydantic import Field

from holdfast.attacks.adam import Adam
from holdfast.attacks.arrays import copy, cut, like, namespace, put, take
from holdfast.attacks.ball import ball
from holdfast.attacks.definition import Attack
from holdfast.attacks.oracle import Array
from holdfast.attacks.parameters import BoundedParameters, Cost
from holdfast.attacks.problem import Problem
from holdfast.attacks.targets import TargetableParameters


class SPSAParameters(BoundedParameters, TargetableParameters):
    """Adam on differences of the margin along random signs."""

    steps: Annotated[int, Field(ge=1, le=10_000, description="Adam steps.")] = 100
    samples: Annotated[
        int,
        Field(
            ge=1,
            le=1_000_000,
            description="Random directions of each estimate, two queries each. The paper takes thousands.",
        ),
    ] = 128
    delta: Annotated[
        float,
        Field(ge=1e-6, le=1, description="How far along a direction the margin is asked, in image units."),
    ] = 0.01
    learning_rate: Annotated[float, Field(gt=0, le=1, description="Adam's, in image units.")] = 0.01
    samples_per_call: Annotated[
        int,
        Field(
            ge=2,
            le=65_536,
            description="The most variants of one image in a single call of the model; it bounds the memory "
            "and changes nothing else.",
        ),
    ] = 32

    def cost(self, classes: int) -> Cost:
        """Two queries for each direction, and one to see whether the step fooled the model, but the last."""
        del classes
        return Cost(forwards=self.steps * (2 * self.samples + 1) - 1)


def spsa(problem: Problem, parameters: SPSAParameters) -> Array:
    """For each image the first iterate that fools the model, else the last one."""
    p = parameters
    region = ball(p.norm, p.epsilon)
    adversarial = copy(problem.images)
    rows, centre, current = problem.rows, problem.images, problem.images
    adam = Adam(current, p.learning_rate)
    for step in range(p.steps):
        current = region.project(current + adam.step(estimate(problem, current, rows, p)), centre)
        problem.progress(step + 1, p.steps)
        if step + 1 == p.steps:
            break
        fooled = problem.fooled(problem.ask(current, rows), rows)
        if fooled.any():
            held = np.flatnonzero(~fooled)
            put(adversarial, rows[fooled], take(current, np.flatnonzero(fooled)))
            rows, current, centre = rows[held], take(current, held), take(centre, held)
            adam.keep(held)
        if not len(rows):
            return adversarial
    put(adversarial, rows, current)
    return adversarial


def estimate(problem: Problem, images: Array, rows: np.ndarray, p: SPSAParameters) -> Array:
    """The margin's gradient at ``images`` (k, c, h, w), from ``p.samples`` pairs of queries for each.

    The mean over directions v, of random signs, of v · (m(x + δv) − m(x − δv)) / 2δ. Both images are cut to
    [0, 1], as any model that is served expects; where that shortens a value's range, the mean is divided by
    the shorter range instead of 2δ, which keeps the estimate without bias for a linear margin.
    """
    xp = namespace(images)
    low, high = cut(images - p.delta, 0.0, 1.0), cut(images + p.delta, 0.0, 1.0)
    middle, half = (high + low) / 2, (high - low) / 2
    noise = problem.noise.take(rows)
    shape = tuple(images.shape)
    total = xp.zeros_like(images)
    for pairs in _chunks(p.samples, p.samples_per_call // 2):
        signs = noise.signs(images, pairs)
        offset = signs * half[:, None, ...]
        variants = xp.stack([middle[:, None, ...] + offset, middle[:, None, ...] - offset], axis=1)
        asked = np.repeat(rows, 2 * pairs)
        margins = problem.margin(problem.ask(xp.reshape(variants, (-1, *shape[1:])), asked), asked)
        plus, minus = margins.reshape(len(rows), 2, pairs).swapaxes(0, 1)
        told = np.isfinite(plus) & np.isfinite(minus)  # of a pair with an answer of NaN nothing is known
        slopes = like(np.subtract(plus, minus, out=np.zeros_like(plus), where=told), images)[:, None, :]
        total += xp.reshape(xp.matmul(slopes, xp.reshape(signs, (shape[0], pairs, -1))), shape)
    return total / (2 * p.samples * half)


def _chunks(whole: int, largest: int) -> Iterator[int]:
    for start in range(0, whole, largest):
        yield min(largest, whole - start)


ATTACKS = (
    Attack(
        name="spsa",
        summary="Adam along a gradient estimated from differences of the margin: needs scores, no gradient.",
        source="Uesato et al. 2018, Adversarial Risk and the Dangers of Evaluating Against Weak Attacks.",
        access="scores",
        parameters=SPSAParameters,
        core=spsa,
    ),
)
