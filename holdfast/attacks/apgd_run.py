"""One run of Auto-PGD (Croce & Hein 2020, Algorithm 1); :mod:`holdfast.attacks.apgd` says which are made."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated

import numpy as np
from pydantic import Field

from holdfast.attacks.arrays import copy, each, namespace, put, take, to_numpy
from holdfast.attacks.ball import ball
from holdfast.attacks.objective import Objective
from holdfast.attacks.oracle import Array, GradientAnswer
from holdfast.attacks.parameters import BoundedParameters, Cost
from holdfast.attacks.problem import Problem, Progress

#: Weight of the gradient step against momentum (Sec. 3.1).
_ALPHA = 0.75


class AutoParameters(BoundedParameters):
    """What every Auto-PGD has in common."""

    steps: Annotated[int, Field(ge=1, le=10_000, description="Gradient steps of one run.")] = 100
    restarts: Annotated[
        int, Field(ge=1, le=1_000, description="Runs; an image is lost if any run fools it.")
    ] = 1
    rho: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="The step is halved if the loss rose in no more than this share of the steps since "
            "the last checkpoint.",
        ),
    ] = 0.75
    stop_at_success: Annotated[
        bool,
        Field(
            description="Keep the first image that fools the model, and leave out those that it gets wrong "
            "anyway; if not, every image takes every step, and of those that fool the model the one with the "
            "highest loss counts: for transfer attacks."
        ),
    ] = True

    def runs(self, runs: int, terms: int) -> Cost:
        """Of so many runs: a gradient for each term of the loss in each step, a look at the last image."""
        gradients = runs * self.steps * terms
        return Cost(forwards=gradients + runs, backwards=gradients)

    @property
    def skips_misclassified(self) -> bool:
        """See :attr:`holdfast.attacks.parameters.AttackParameters.skips_misclassified`."""
        return self.stop_at_success


def checkpoints(steps: int) -> list[int]:
    """After how many steps the step size is looked at: w_j = ⌈p_j · steps⌉ (Sec. 3.1).

    >>> checkpoints(100)
    [22, 41, 57, 70, 80, 87, 93, 99]
    """
    found: list[int] = []
    before, percent = 0, 22  # p_0 and p_1 in hundredths, so that no rounding comes before the ceiling
    while percent <= 100:
        found.append(-(-percent * steps // 100))
        before, percent = percent, percent + max(percent - before - 3, 6)
    return sorted(set(found))


def climb(
    problem: Problem,
    rows: np.ndarray,
    objective: Objective,
    targets: Array | None,
    parameters: AutoParameters,
    progress: Progress,
) -> tuple[Array, np.ndarray]:
    """Climb once from random starts.

    Args:
        problem: Whose images are attacked.
        rows: (k,), which of them.
        objective: What is ascended.
        targets: (k,), the classes that the objective aims at, in place of the problem's own.
        parameters: See there.
        progress: Called after each step.

    Returns:
        For each of the rows the image that fools the model, or else the one of the highest loss
        (k, c, h, w), and which do (k,) on the host.
    """
    p = parameters
    region = ball(p.norm, p.epsilon)
    centre = take(problem.images, rows)
    start = region.surface(centre, problem.noise.take(rows))
    answer = problem.ascent(start, rows, objective, targets)
    state = _State.at(start, answer, centre, rows, targets, 2 * p.epsilon)
    best = _Best(start, stop=p.stop_at_success)
    best.meet(state, problem.fooled(answer.logits, rows))
    looked, looks = 0, checkpoints(p.steps)
    for step in range(1, p.steps + 1):
        if not len(state.rows):
            break
        ahead = region.step(state.current, state.gradient, state.size, state.centre)
        if step > 1:
            momentum = (1 - _ALPHA) * (state.current - state.previous)
            ahead = region.project(state.current + _ALPHA * (ahead - state.current) + momentum, state.centre)
        state.previous, state.current = state.current, ahead
        if step < p.steps:
            answer = problem.ascent(ahead, state.rows, objective, state.targets)
            state.learn(answer)
            best.meet(state, problem.fooled(answer.logits, state.rows))
            if step in looks:
                state.check(step - looked, p.rho)
                looked = step
        else:
            best.end(state, problem.fooled(problem.ask(ahead, state.rows), state.rows))
        progress(step, p.steps)
    return best.images, best.fooled


@dataclass
class _State:
    """Where the images of a run stand; every field has an entry for each that is still in it.

    Attributes:
        rows: Which original it is made from, on the host.
        places: Where its result goes, on the host.
        targets: The class to reach; None without targets.
        centre: The original.
        current: x^(k).
        previous: x^(k−1).
        gradient: At ``current``.
        loss: After the last step; a return to the best point leaves it as it is.
        best: x_max.
        best_gradient: At ``best``.
        best_loss: f_max.
        size: η.
        rises: Steps since the last checkpoint in which the loss rose.
        halved: Whether η was halved at the last checkpoint.
        checked_loss: f_max at the last checkpoint.
    """

    rows: np.ndarray
    places: np.ndarray
    targets: Array | None
    centre: Array
    current: Array
    previous: Array
    gradient: Array
    loss: Array
    best: Array
    best_gradient: Array
    best_loss: Array
    size: Array
    rises: Array
    halved: Array
    checked_loss: Array

    @classmethod
    def at(
        cls,
        start: Array,
        answer: GradientAnswer,
        centre: Array,
        rows: np.ndarray,
        targets: Array | None,
        size: float,
    ) -> _State:
        """At the start of a run, where the model gave that answer."""
        xp = namespace(start)
        loss, gradient = answer.loss, answer.gradient
        return cls(
            rows=rows,
            places=np.arange(len(rows)),
            targets=targets,
            centre=centre,
            current=start,
            previous=start,
            gradient=gradient,
            loss=loss,
            best=start,
            best_gradient=gradient,
            best_loss=loss,
            size=xp.full_like(loss, size),
            rises=xp.zeros_like(loss),
            halved=xp.ones_like(loss, dtype=xp.bool),
            checked_loss=loss,
        )

    def learn(self, answer: GradientAnswer) -> None:
        """Take in the answer at ``current``."""
        loss, gradient = answer.loss, answer.gradient
        xp = namespace(loss)
        self.rises = self.rises + xp.astype(loss > self.loss, loss.dtype)
        self.loss, self.gradient = loss, gradient
        better = loss > self.best_loss
        rose = to_numpy(better)
        if rose.all():  # as it is at first, and always in a batch of one that rises: no copy
            self.best, self.best_gradient, self.best_loss = self.current, gradient, loss
        elif rose.any():
            self.best = xp.where(each(better), self.current, self.best)
            self.best_gradient = xp.where(each(better), gradient, self.best_gradient)
            self.best_loss = xp.where(better, loss, self.best_loss)

    def check(self, steps: int, rho: float) -> None:
        """At a checkpoint, ``steps`` after the last: halve η and return to x_max where the run is stuck.

        Conditions 1 and 2 of Sec. 3.1: the loss rose in too few of the steps, or neither η nor f_max has
        changed since the last checkpoint.
        """
        xp = namespace(self.loss)
        stuck = (self.rises <= rho * steps) | (~self.halved & (self.checked_loss >= self.best_loss))
        self.size = xp.where(stuck, self.size / 2, self.size)
        self.current = xp.where(each(stuck), self.best, self.current)
        self.gradient = xp.where(each(stuck), self.best_gradient, self.gradient)
        self.rises = xp.zeros_like(self.rises)
        self.halved, self.checked_loss = stuck, self.best_loss

    def keep(self, held: np.ndarray) -> None:
        """Leave out all but the images of that index."""
        for name in (field.name for field in fields(self)):
            values = getattr(self, name)
            if values is not None:
                setattr(self, name, take(values, held))


class _Best:
    """The images that a run gives back, and which of them fool the model.

    Args:
        start: (k, c, h, w), where the run starts.
        stop: Whether an image leaves the run when it fools the model.
    """

    def __init__(self, start: Array, *, stop: bool) -> None:
        self.images = copy(start)
        self.fooled = np.zeros(start.shape[0], dtype=bool)
        self._highest = np.full(start.shape[0], -np.inf)
        self._stop = stop

    def meet(self, state: _State, fooled: np.ndarray) -> None:
        """Learn which of the current images fool the model."""
        if not self._stop:
            loss = to_numpy(state.loss)
            better = (fooled & ~self.fooled) | ((fooled == self.fooled) & (loss > self._highest))
            self._highest[better] = loss[better]
            self._put(state, better)
        elif fooled.any():
            self._put(state, fooled)
        self.fooled[state.places] |= fooled
        if self._stop and fooled.any():
            state.keep(np.flatnonzero(~fooled))

    def end(self, state: _State, fooled: np.ndarray) -> None:
        """The same of the last images, whose loss nobody knows."""
        if self._stop:
            put(self.images, state.places, state.best)
        self._put(state, fooled & ~self.fooled[state.places])
        self.fooled[state.places] |= fooled

    def _put(self, state: _State, which: np.ndarray) -> None:
        put(self.images, state.places[which], take(state.current, np.flatnonzero(which)))
