"""Carlini & Wagner's L2 attack (2017, Sec. VI-A): the smallest perturbation by Adam, unbounded by a budget.

For each image, minimise ‖x' − x‖² + c · max(κ − m(x'), 0) over w, where x' = (tanh w + 1) / 2 keeps to
[0, 1] by itself and m is the margin of the logits, the negative of the paper's f_6; a binary search finds the
smallest c that still fools the model. The oracle gives ∇m; the rest of the chain rule is written out here, so
that the attack runs without autograd.

As in the authors' code, an image stops early where its objective no longer falls. There a batch stops
together; here each image stops on its own, so that no image's result depends on another.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from holdfast.attacks.adam import Adam
from holdfast.attacks.arrays import each, like, namespace, take, to_numpy
from holdfast.attacks.ball import l2_norm
from holdfast.attacks.definition import Attack
from holdfast.attacks.loss import Loss
from holdfast.attacks.nearest import Nearest
from holdfast.attacks.objective import Objective
from holdfast.attacks.oracle import Array
from holdfast.attacks.parameters import Cost, MinimalL2Parameters
from holdfast.attacks.problem import Problem, Progress, stage
from holdfast.attacks.targets import TargetableParameters

#: Keeps arctanh finite at black and white.
_INSIDE = 1 - 1e-6
#: An objective that has not fallen by this factor in a tenth of the steps is stuck (the authors' code).
_PROGRESS = 0.9999
#: Beyond this c is no longer raised.
_LARGEST_C = 1e10


class CarliniWagnerParameters(MinimalL2Parameters, TargetableParameters):
    """Adam on the perturbation's square and the margin, with a search for the weight between the two."""

    steps: Annotated[
        int,
        Field(ge=1, le=100_000, description="Adam steps for each c; the authors' code takes up to 10,000."),
    ] = 1000
    searches: Annotated[
        int, Field(ge=1, le=30, description="Values of c that are tried: the steps of its binary search.")
    ] = 9
    initial_c: Annotated[
        float,
        Field(
            gt=0, le=1e10, description="The first weight c of the margin; it grows tenfold until it suffices."
        ),
    ] = 1e-3
    learning_rate: Annotated[float, Field(gt=0, le=10, description="Adam's, in the space before tanh.")] = (
        0.01
    )
    confidence: Annotated[
        float, Field(ge=0, le=1e6, description="κ: by how much, in logits, the wrong class must lead.")
    ] = 0.0
    abort_early: Annotated[
        bool,
        Field(
            description="Look at the objective ten times, and leave an image alone that makes no progress."
        ),
    ] = True

    def cost(self, classes: int) -> Cost:
        """A gradient in every step for every c."""
        del classes
        return Cost(forwards=self.searches * self.steps, backwards=self.searches * self.steps)


def carlini_wagner(problem: Problem, parameters: CarliniWagnerParameters) -> Array:
    """The nearest image found over all c; the original where there was none."""
    p = parameters
    nearest = Nearest(problem.images)
    c = np.full(len(problem), p.initial_c)
    low, high = np.zeros(len(problem)), np.full(len(problem), np.inf)
    for search in range(p.searches):
        found = _descend(problem, p, c, nearest, stage(problem.progress, search, p.searches))
        high[found], low[~found] = c[found], c[~found]
        c = np.where(np.isinf(high), np.minimum(c * 10, _LARGEST_C), (low + high) / 2)
    return nearest.images


def _descend(
    problem: Problem, p: CarliniWagnerParameters, c: np.ndarray, nearest: Nearest, progress: Progress
) -> np.ndarray:
    """Adam for one c for each image, (n,) on the host; which images were fooled on the way, (n,)."""
    objective = Objective.of(Loss.MARGIN if problem.targets is None else Loss.TARGETED_MARGIN)
    rows, originals = problem.rows, problem.images
    w = before_tanh(originals)
    adam = Adam(w, p.learning_rate)
    found = np.zeros(len(problem), dtype=bool)
    previous = np.full(len(problem), np.inf)
    for step in range(p.steps):
        images = after_tanh(w)
        offset = images - originals
        answer = problem.ascent(images, rows, objective)
        norms, gradient = to_numpy(l2_norm(offset)), answer.gradient
        # Of the logits, as an oracle may have no loss for those that are infinite.
        margin = problem.margin(answer.logits, rows)
        fooled = problem.fooled(answer.logits, rows) & (margin >= p.confidence)
        found[rows] |= fooled
        nearest.offer(images, norms, fooled, rows)
        progress(step + 1, p.steps)
        if step + 1 == p.steps:
            break
        if p.abort_early and step % -(-p.steps // 10) == 0:
            value = norms**2 + c[rows] * np.maximum(p.confidence - margin, 0)
            going = value <= _PROGRESS * previous[rows]
            previous[rows] = value
            if not going.all():
                kept = np.flatnonzero(going)
                rows, margin = rows[kept], margin[kept]
                w, images, originals, offset, gradient = (
                    take(array, kept) for array in (w, images, originals, offset, gradient)
                )
                adam.keep(kept)
            if not len(rows):
                break
        weight = np.where(margin < p.confidence, c[rows], 0.0).astype(np.float32)
        w = w - adam.step(descent_gradient(images, offset, gradient, each(like(weight, images))))
    return found


def before_tanh(images: Array) -> Array:
    """w with (tanh w + 1) / 2 = x', but for a hair at black and white, where w would be infinite."""
    return namespace(images).atanh((2 * images - 1) * _INSIDE)


def after_tanh(w: Array) -> Array:
    """x' = (tanh w + 1) / 2."""
    return (namespace(w).tanh(w) + 1) * 0.5


def descent_gradient(images: Array, offset: Array, margin_gradient: Array, weight: Array) -> Array:
    """∇_w of ‖x' − x‖² − weight · m(x'), by the chain rule: dx'/dw = (1 − tanh² w) / 2 = 2 x' (1 − x').

    Args:
        images: x', (n, c, h, w).
        offset: x' − x.
        margin_gradient: ∇_{x'} m.
        weight: (n, 1, 1, 1): c where the margin is short of κ, else 0.
    """
    outer = 2 * offset - weight * margin_gradient
    outer *= 2 * images * (1 - images)
    return outer


ATTACKS = (
    Attack(
        name="cw-l2",
        summary="The smallest L2 perturbation, by Adam on its square and the weighted margin.",
        source="Carlini & Wagner 2017, Towards Evaluating the Robustness of Neural Networks.",
        access="gradient",
        parameters=CarliniWagnerParameters,
        core=carlini_wagner,
        minimises=True,
    ),
)
