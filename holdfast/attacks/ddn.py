"""Decoupled Direction and Norm (Rony et al. 2019, Algorithm 1): the smallest L2 perturbation in few steps.

The direction follows the gradient; the norm follows success: it shrinks by γ while the image fools the model,
and grows by γ while it does not.
"""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
from pydantic import Field

from holdfast.attacks.arrays import copy, cut, each, like, namespace, put, take, to_numpy
from holdfast.attacks.ball import l2_norm, linf_norm
from holdfast.attacks.definition import Attack
from holdfast.attacks.nearest import Nearest
from holdfast.attacks.noise import ImageNoise
from holdfast.attacks.objective import Objective, ObjectiveText
from holdfast.attacks.oracle import Array
from holdfast.attacks.parameters import Cost, MinimalL2Parameters
from holdfast.attacks.problem import Problem
from holdfast.attacks.targets import TargetableParameters

#: Cosine annealing takes the step from 1 to this (Sec. 4).
_LAST_STEP = 0.01
_TINY = 1e-12


class DDNParameters(MinimalL2Parameters, TargetableParameters):
    """Steps along the normalised gradient, each followed by a norm that success shrinks and failure grows."""

    steps: Annotated[int, Field(ge=1, le=10_000, description="Gradient steps.")] = 100
    gamma: Annotated[
        float, Field(gt=0, lt=1, description="γ: the share by which the norm shrinks or grows in a step.")
    ] = 0.05
    initial_norm: Annotated[
        float, Field(gt=0, le=1000, description="The norm that the search begins with, in image units.")
    ] = 1.0
    levels: Annotated[
        int | None,
        Field(
            ge=2,
            le=65_536,
            description="Keep every iterate on so many grey levels: 256 in the paper, any value by default.",
        ),
    ] = None
    loss: ObjectiveText = "ce"

    def cost(self, classes: int) -> Cost:
        """A gradient for each term of the loss in each step."""
        del classes
        gradients = self.steps * len(Objective.parse(self.loss).terms)
        return Cost(forwards=gradients, backwards=gradients)


def ddn(problem: Problem, parameters: DDNParameters) -> Array:
    """The nearest image found; the original where there was none."""
    p = parameters
    objective = Objective.parse(p.loss)
    objective = objective if problem.targets is None else objective.for_target()
    xp = namespace(problem.images)
    originals, rows = problem.images, problem.rows
    farthest = to_numpy(l2_norm(xp.maximum(originals, 1 - originals)))
    norm = np.minimum(np.full(len(problem), p.initial_norm, dtype=np.float32), farthest)
    current, nearest = originals, Nearest(originals)
    for step in range(p.steps):
        answer = problem.ascent(current, rows, objective)
        fooled = problem.fooled(answer.logits, rows)
        offset = current - originals
        nearest.offer(current, to_numpy(l2_norm(offset)), fooled, rows)
        problem.progress(step + 1, p.steps)
        if step + 1 == p.steps:
            break
        size = _LAST_STEP + (1 - _LAST_STEP) * (1 + math.cos(math.pi * step / p.steps)) / 2
        offset += size * _direction(answer.gradient, problem.noise)
        norm = np.minimum(norm * np.where(fooled, 1 - p.gamma, 1 + p.gamma).astype(np.float32), farthest)
        offset *= each(like(norm, originals) / cut(l2_norm(offset), _TINY, math.inf))
        offset += originals
        current = cut(offset, 0.0, 1.0)
        if p.levels is not None:
            current = xp.round(current * (p.levels - 1)) / (p.levels - 1)
    return nearest.images


def _direction(gradient: Array, noise: ImageNoise) -> Array:
    """The gradient at length 1; where it vanishes, a random direction (as in the authors' code)."""
    # Of a very sure model the cross-entropy's gradient is so small that its square is no longer a float.
    largest = linf_norm(gradient)
    blind = np.flatnonzero(to_numpy(largest) == 0)
    if len(blind):
        gradient = copy(gradient)
        put(gradient, blind, noise.take(blind).normal(take(gradient, blind)))
        largest = linf_norm(gradient)
    gradient = gradient / each(largest)
    return gradient / each(l2_norm(gradient))


ATTACKS = (
    Attack(
        name="ddn",
        summary="The smallest L2 perturbation, by steps whose norm shrinks while the image fools the model.",
        source="Rony et al. 2019, Decoupling Direction and Norm for Efficient Gradient-Based L2 Adversarial "
        "Attacks and Defenses.",
        access="gradient",
        parameters=DDNParameters,
        core=ddn,
        minimises=True,
    ),
)
