"""FAB (Croce & Hein 2020, Algorithm 1): the smallest perturbation, by steps to linearised class boundaries.

``fab`` linearises the boundary to every other class in every step, which costs a gradient for each of them;
``fab-t``, as AutoAttack runs it, that to one likely class in each run. As the oracles give the gradient of a
difference of logits, nothing is asked for twice.

Departures: an image that fell keeps its nearest image over all runs, and a run's random start is within half
of that distance, as in the algorithm (the authors' code forgets it between runs); the final search of the
algorithm, which AutoAttack leaves out, costs a few forward passes and can be switched off.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from holdfast.attacks.apgd import likeliest_others
from holdfast.attacks.arrays import each, like, namespace, take, to_numpy
from holdfast.attacks.ball import Ball, ball, l2_norm
from holdfast.attacks.definition import Attack
from holdfast.attacks.hyperplane import to_hyperplane
from holdfast.attacks.loss import Loss
from holdfast.attacks.nearest import Nearest
from holdfast.attacks.objective import Objective
from holdfast.attacks.oracle import Array
from holdfast.attacks.parameters import Cost, MinimalParameters
from holdfast.attacks.problem import Problem, Progress, stage
from holdfast.attacks.targets import TargetableParameters

#: How far random starts are from the image where nothing is known of its distance and no budget is given:
#: twice this, as in the authors' code.
_START = {"linf": 0.3, "l2": 1.0}
#: How far past the boundary the final search aims, as a share of the line that is left.
_PAST = 1e-3
#: A margin below this share of the largest logit is rounding.
_ROUNDING = 1e-6


class _FABParameters(MinimalParameters):
    """What both have in common."""

    norm: Annotated[Literal["linf", "l2"], Field(description="What is minimised.")] = "linf"
    steps: Annotated[int, Field(ge=1, le=10_000, description="Steps of one run.")] = 100
    restarts: Annotated[
        int, Field(ge=1, le=1_000, description="Runs, all but the first from a random start.")
    ] = 1
    alpha_max: Annotated[
        float, Field(ge=0, le=1, description="The most that a step leans to the original image.")
    ] = 0.1
    eta: Annotated[float, Field(ge=1, le=10, description="How far a step goes over the boundary.")] = 1.05
    beta: Annotated[
        float, Field(gt=0, lt=1, description="What is left of the perturbation after a success.")
    ] = 0.9
    final_search: Annotated[
        int,
        Field(ge=0, le=100, description="Steps along the line to the original, a forward pass each."),
    ] = 3
    stop_at_success: Annotated[
        bool,
        Field(
            description="Leave an image alone once it is fooled within epsilon, rather than go on to look "
            "for a smaller perturbation."
        ),
    ] = False

    @model_validator(mode="after")
    def _stop_where(self) -> _FABParameters:
        if self.stop_at_success and self.epsilon is None:
            raise ValueError("stop_at_success needs epsilon, which says what success is")
        return self

    def runs(self, runs: int, gradients: int) -> Cost:
        """Of so many runs with so many gradients in each step."""
        passes = runs * self.steps * gradients
        search = 1 + self.final_search if self.final_search else 0
        return Cost(forwards=passes + runs * self.steps + search, backwards=passes)


class FABParameters(_FABParameters, TargetableParameters):
    """Steps to the nearest of the boundaries to all other classes, one gradient for each."""

    def cost(self, classes: int) -> Cost:
        """In each step a gradient for each other class, and a look."""
        return self.runs(self.restarts, 1 if self.target is not None else classes - 1)


class FABTParameters(_FABParameters):
    """Steps to the boundary of one likely class after another; an image is lost to whichever it falls to."""

    classes: Annotated[
        int, Field(ge=1, le=10_000, description="How many of the likeliest other classes are aimed at.")
    ] = 9

    def cost(self, classes: int) -> Cost:
        """For each class aimed at, a gradient and a look in each step."""
        return self.runs(self.restarts * min(self.classes, classes - 1), 1)


def fab(problem: Problem, parameters: FABParameters) -> Array:
    """FAB towards all classes at once, or towards the images' own targets."""
    return _over_runs(problem, parameters, [None])


def fab_t(problem: Problem, parameters: FABTParameters) -> Array:
    """FAB-T: towards one likely class after another, or towards the images' own targets."""
    if problem.targets is not None:
        return _over_runs(problem, parameters, [None])
    return _over_runs(problem, parameters, list(likeliest_others(problem, parameters.classes)))


def _over_runs(problem: Problem, p: _FABParameters, aims: Sequence[np.ndarray | None]) -> Array:
    """All runs towards each aim, (n,) on the host or None, and the final search."""
    nearest = Nearest(problem.images)
    count = len(aims) * p.restarts
    rows = problem.rows
    for number in range(count):
        aim = aims[number // p.restarts]
        rows = _open(rows, nearest, p)
        if not len(rows):
            break
        _run(problem, rows, aim, nearest, p, stage(problem.progress, number, count), number % p.restarts > 0)
    if p.final_search:
        _search(problem, nearest, ball(p.norm, 1.0), p.final_search)
    return nearest.images


def _open(rows: np.ndarray, nearest: Nearest, p: _FABParameters) -> np.ndarray:
    """The rows that are still worth going on with."""
    if not p.stop_at_success or p.epsilon is None:
        return rows
    still: np.ndarray = rows[nearest.norms[rows] > p.epsilon]
    return still


def _run(
    problem: Problem,
    rows: np.ndarray,
    aim: np.ndarray | None,
    nearest: Nearest,
    p: _FABParameters,
    progress: Progress,
    random_start: bool,
) -> None:
    """One run of Algorithm 1 for the originals ``rows``; what it finds goes to ``nearest``."""
    region = ball(p.norm, p.epsilon or _START[p.norm])
    xp = namespace(problem.images)
    centre = take(problem.images, rows)
    current = centre
    if random_start:
        radius = np.minimum(nearest.norms[rows], region.epsilon).astype(np.float32) / 2
        current = region.surface(centre, problem.noise.take(rows), like(radius, centre))
    for step in range(p.steps):
        gap, slope = _boundary(problem, current, rows, aim, p.norm)
        ahead = to_hyperplane(current, slope, -gap, p.norm)
        beside = xp.sum(slope * (current - centre), axis=(1, 2, 3)) - gap
        home = to_hyperplane(centre, slope, beside, p.norm)
        alpha = each(_lean(region.length(ahead), region.length(home), p.alpha_max))
        current = (1 - alpha) * (current + p.eta * ahead) + alpha * (centre + p.eta * home)
        current = xp.clip(current, 0.0, 1.0)
        fooled = problem.fooled(problem.ask(current, rows), rows)
        change = current - centre
        nearest.offer(current, to_numpy(region.length(change)), fooled, rows)
        current = xp.where(each(like(fooled, current)), centre + p.beta * change, current)
        progress(step + 1, p.steps)
        held = _open(rows, nearest, p)
        if len(held) < len(rows):
            kept = np.flatnonzero(np.isin(rows, held))
            rows, centre, current = held, take(centre, kept), take(current, kept)
        if not len(rows):
            break


def _lean(ahead: Array, home: Array, most: float) -> Array:
    """α: how far to lean to the original's own way to the boundary (eq. 9)."""
    xp = namespace(ahead)
    ahead, home = xp.clip(ahead, 1e-8, None), xp.clip(home, 1e-8, None)
    return xp.clip(ahead / (ahead + home), 0.0, most)


def _boundary(
    problem: Problem, images: Array, rows: np.ndarray, aim: np.ndarray | None, norm: str
) -> tuple[Array, Array]:
    """The boundary that a step goes to: how far the model is over it, (k,), and the slope (k, c, h, w)."""
    if problem.targets is not None:
        answer = problem.ascent(images, rows, Objective.of(Loss.TARGETED_MARGIN))
        return answer.loss, answer.gradient
    difference = Objective.of(Loss.LOGIT_DIFFERENCE)
    if aim is not None:
        answer = problem.ascent(images, rows, difference, like(aim[rows], images))
        return answer.loss, answer.gradient
    xp = namespace(images)
    labels, classes = to_numpy(problem.labels)[rows], problem.oracle.classes
    gap = slope = distance = None
    for other in range(1, classes):
        answer = problem.ascent(images, rows, difference, like((labels + other) % classes, images))
        # The dual norm: what a step of length one can add to the difference.
        size = l2_norm(answer.gradient) if norm == "l2" else xp.sum(xp.abs(answer.gradient), axis=(1, 2, 3))
        reach = xp.abs(answer.loss) / xp.clip(size, 1e-12, None)
        if distance is None:
            gap, slope, distance = answer.loss, answer.gradient, reach
            continue
        closer = reach < distance
        gap = xp.where(closer, answer.loss, gap)
        slope = xp.where(each(closer), answer.gradient, slope)
        distance = xp.where(closer, reach, distance)
    return gap, slope


def _search(problem: Problem, nearest: Nearest, region: Ball, steps: int) -> None:
    """The final search (eq. 11): secants of the margin along the line from the original to what was found.

    They aim a little past the boundary: on it, the rounding of another batch would change the class.
    """
    rows = np.flatnonzero(np.isfinite(nearest.norms))
    if not len(rows):
        return
    centre, found = take(problem.images, rows), take(nearest.images, rows)
    change = found - centre
    near, below = np.zeros(len(rows)), problem.margin(take(problem.logits, rows), rows)
    far, above = np.ones(len(rows)), problem.margin(problem.ask(found, rows), rows)
    for _ in range(steps):
        secant = _ratio(below, np.minimum(below - above, -1e-12))
        share = near + (far - near) * np.clip(secant + _PAST, 0, 1)
        images = centre + each(like(share.astype(np.float32), centre)) * change
        logits = problem.ask(images, rows)
        margin = problem.margin(logits, rows)
        scores = np.abs(to_numpy(logits))
        clear = margin > _ROUNDING * np.where(np.isfinite(scores), scores, 0).max(1)
        nearest.offer(images, to_numpy(region.length(images - centre)), clear, rows)
        far, above = np.where(clear, share, far), np.where(clear, margin, above)
        near, below = np.where(clear, near, share), np.where(clear, below, margin)


def _ratio(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Their quotients; the middle of 0 and 1 where both are infinite."""
    with np.errstate(invalid="ignore"):
        found: np.ndarray = values / others
    return np.where(np.isnan(found), 0.5, found)


_SOURCE = "Croce & Hein 2020, Minimally Distorted Adversarial Examples with a Fast Adaptive Boundary Attack."
ATTACKS = (
    Attack(
        name="fab",
        summary="Steps to the nearest linearised class boundary and back, for the smallest perturbation.",
        source=_SOURCE,
        access="gradient",
        parameters=FABParameters,
        core=fab,
        minimises=True,
    ),
    Attack(
        name="fab-t",
        summary="FAB towards one likely class after another: one gradient a step, however many classes.",
        source=_SOURCE,
        access="gradient",
        parameters=FABTParameters,
        core=fab_t,
        minimises=True,
    ),
)
