"""Auto-PGD (Croce & Hein 2020, Algorithm 1): projected gradient ascent that chooses its own step size.

Departures from the algorithm box are those of the authors' code: a run starts at a random point of the
ball's surface, and Condition 1 compares each loss with that of the step before it, even after a return to
the best point. An image is left alone once it is fooled, and of the last iterate only the class is asked,
which saves a backward pass.

DLR needs three classes and its targeted form four. With fewer the margin takes its place, which is the
numerator of DLR: the direction is the same, and only the steps' sizes may differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from holdfast.attacks.apgd_run import AutoParameters, climb
from holdfast.attacks.arrays import copy, like, put, to_numpy
from holdfast.attacks.definition import Attack
from holdfast.attacks.objective import Objective, ObjectiveText
from holdfast.attacks.oracle import Array
from holdfast.attacks.parameters import Cost
from holdfast.attacks.problem import Problem, stage
from holdfast.attacks.targets import TargetableParameters

_SOURCE = (
    "Croce & Hein 2020, Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse "
    "Parameter-free Attacks."
)


class APGDParameters(AutoParameters, TargetableParameters):
    """Gradient ascent with momentum, whose step is halved where the loss no longer rises."""

    loss: ObjectiveText = "ce"

    def cost(self, classes: int) -> Cost:
        """A gradient for each term of the loss in each step, and a look at each run's last image."""
        del classes
        return self.runs(self.restarts, len(Objective.parse(self.loss).terms))


class APGDDLRParameters(APGDParameters):
    """The same on the difference of logits ratio, which does not change with the logits' scale."""

    loss: ObjectiveText = "dlr"


class APGDTParameters(AutoParameters):
    """A run towards each of the likeliest other classes; an image is lost to whichever class it falls to."""

    classes: Annotated[
        int, Field(ge=1, le=10_000, description="How many of the likeliest other classes are aimed at.")
    ] = 9
    loss: Annotated[
        Literal["dlr", "cw", "ce"],
        Field(
            description="The loss whose targeted form is ascended; with fewer than four classes cw, not dlr."
        ),
    ] = "dlr"

    def cost(self, classes: int) -> Cost:
        """As of so many runs."""
        return self.runs(self.restarts * min(self.classes, classes - 1), 1)


def apgd(problem: Problem, parameters: APGDParameters) -> Array:
    """Auto-PGD over restarts."""
    objective = Objective.parse(parameters.loss)
    if problem.targets is not None:
        objective = objective.for_target()
    return _over_runs(problem, parameters, objective, [None] * parameters.restarts)


def apgd_t(problem: Problem, parameters: APGDTParameters) -> Array:
    """Auto-PGD on a targeted loss, towards one class after another (Croce & Hein 2020, Sec. 4.2).

    The images' own targets, where they have any, are the only classes that are aimed at.
    """
    objective = Objective.parse(parameters.loss).for_target()
    aims: Sequence[np.ndarray | None] = [None]
    if problem.targets is None:
        aims = list(likeliest_others(problem, parameters.classes))
    return _over_runs(
        problem, parameters, objective, [aim for aim in aims for _ in range(parameters.restarts)]
    )


def likeliest_others(problem: Problem, count: int) -> np.ndarray:
    """The ``count`` classes that the model finds likeliest for each clean image, its label left out.

    Returns:
        (k, n) on the host, the likeliest first; k is less than ``count`` if there are fewer classes.
    """
    order = np.argsort(-to_numpy(problem.logits), axis=1, kind="stable")
    # Not by a score of −∞ for the label: classes that the model masks out have that too.
    others: np.ndarray = order[order != to_numpy(problem.labels)[:, None]].reshape(len(order), -1)
    return others[:, : min(count, others.shape[1])].T


def _over_runs(
    problem: Problem, parameters: AutoParameters, objective: Objective, aims: Sequence[np.ndarray | None]
) -> Array:
    """One run after another, each on the images that still hold; aims are (n,), or None for no target."""
    adversarial = copy(problem.images)
    rows = problem.rows
    objective = objective.for_classes(int(problem.logits.shape[1]))
    for number, aim in enumerate(aims):
        progress = stage(problem.progress, number, len(aims))
        targets = None if aim is None else like(aim[rows], problem.images)
        found, fooled = climb(problem, rows, objective, targets, parameters, progress)
        put(adversarial, rows, found)
        rows = rows[~fooled]
        if not len(rows):
            break
    return adversarial


ATTACKS = (
    Attack(
        name="apgd-ce",
        summary="Auto-PGD on the cross-entropy (or another loss): ascent that sets its own step size.",
        source=_SOURCE,
        access="gradient",
        parameters=APGDParameters,
        core=apgd,
    ),
    Attack(
        name="apgd-dlr",
        summary="Auto-PGD on the difference of logits ratio, which the logits' scale does not change.",
        source=_SOURCE,
        access="gradient",
        parameters=APGDDLRParameters,
        core=apgd,
    ),
    Attack(
        name="apgd-t",
        summary="Auto-PGD on the targeted ratio of logits, towards one likely class after another.",
        source=_SOURCE,
        access="gradient",
        parameters=APGDTParameters,
        core=apgd_t,
    ),
)
