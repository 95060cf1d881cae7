"""FGSM (Goodfellow et al. 2015), PGD (Madry et al. 2018), CW-L∞: steps along the gradient inside a ball."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from holdfast.attacks.arrays import copy, put, take
from holdfast.attacks.ball import Ball, ball
from holdfast.attacks.definition import Attack
from holdfast.attacks.loss import AnyLoss, Loss
from holdfast.attacks.objective import Objective, ObjectiveText
from holdfast.attacks.oracle import Array, Oracle
from holdfast.attacks.parameters import BoundedParameters, Cost
from holdfast.attacks.problem import Problem
from holdfast.attacks.targets import TargetableParameters
from holdfast.units import Budget


class FGSMParameters(BoundedParameters, TargetableParameters):
    """One step of the whole budget along the gradient."""

    random_start: Annotated[
        bool, Field(description="Start at a random image of the ball, as FS evaluates it.")
    ] = False
    loss: ObjectiveText = "ce"

    def cost(self, classes: int) -> Cost:
        """One gradient for each term of the loss."""
        del classes
        terms = len(Objective.parse(self.loss).terms)
        return Cost(forwards=terms, backwards=terms)

    @property
    def skips_misclassified(self) -> bool:
        """FS and ATLD attack every image, and count what the model says of the result."""
        return False


class PGDParameters(BoundedParameters, TargetableParameters):
    """Steps of a fixed size along the gradient, each followed by a projection onto the ball."""

    steps: Annotated[int, Field(ge=1, le=10_000, description="Gradient steps of one run.")] = 20
    step_size: Annotated[
        Budget | None,
        Field(
            description="Length of one step, in image units. By default epsilon / 4 (FS: 2/255 of 8/255), "
            "and at few steps 2.5 epsilon / steps, so that the ball's surface is in reach."
        ),
    ] = None
    random_start: Annotated[bool, Field(description="Start at a random image of the ball.")] = True
    restarts: Annotated[
        int, Field(ge=1, le=1_000, description="Runs; an image is lost if any run fools it.")
    ] = 1
    loss: ObjectiveText = "ce"
    stop_at_success: Annotated[
        bool,
        Field(
            description="Keep the first image that fools the model, and leave out those that it gets wrong "
            "anyway; if not, every image takes every step and the last iterate counts, as in FS."
        ),
    ] = True

    def cost(self, classes: int) -> Cost:
        """A gradient for each term of the loss in each step, and a look after each run but the last."""
        del classes
        gradients = self.steps * self.restarts * len(Objective.parse(self.loss).terms)
        return Cost(forwards=gradients + self.restarts - 1, backwards=gradients)

    @property
    def step_length(self) -> float:
        """The length of one step, chosen where none is given."""
        if self.step_size is not None:
            return self.step_size
        return max(self.epsilon / 4, 2.5 * self.epsilon / self.steps)

    @property
    def skips_misclassified(self) -> bool:
        """See :attr:`holdfast.attacks.parameters.AttackParameters.skips_misclassified`."""
        return self.stop_at_success


class CWLinfParameters(PGDParameters):
    """PGD on the margin max_{j≠y} z_j − z_y: what FS, ATLD and others call CW."""

    loss: ObjectiveText = "cw"


def fgsm(problem: Problem, parameters: FGSMParameters) -> Array:
    """x' = P(x + ε · sign(∇L(x))) in L∞, along the normalised gradient in L2."""
    region = ball(parameters.norm, parameters.epsilon)
    start = region.random(problem.images, problem.noise) if parameters.random_start else problem.images
    answer = problem.ascent(start, problem.rows, _objective(problem, parameters.loss))
    return region.step(start, answer.gradient, parameters.epsilon, problem.images)


def pgd(problem: Problem, parameters: PGDParameters) -> Array:
    """Projected gradient ascent on the loss, over restarts.

    Returns:
        For each image the first run's result that fools the model, else the last run's.
    """
    p = parameters
    region, objective = ball(p.norm, p.epsilon), _objective(problem, p.loss)
    adversarial = copy(problem.images)
    rows = problem.rows
    total = p.restarts * p.steps
    for run in range(p.restarts):
        centre = take(problem.images, rows)
        current = region.random(centre, problem.noise.take(rows)) if p.random_start else centre
        for step in range(p.steps):
            answer = problem.ascent(current, rows, objective)
            gradient = answer.gradient
            if p.stop_at_success:
                fooled = problem.fooled(answer.logits, rows)
                if fooled.any():
                    held = (~fooled).nonzero()[0]
                    put(adversarial, rows[fooled], take(current, fooled.nonzero()[0]))
                    rows, current, centre = rows[held], take(current, held), take(centre, held)
                    gradient = take(gradient, held)
                if not len(rows):
                    return adversarial
            current = region.step(current, gradient, p.step_length, centre)
            problem.progress(run * p.steps + step + 1, total)
        put(adversarial, rows, current)
        if run + 1 < p.restarts:
            rows = rows[~problem.fooled(problem.ask(current, rows), rows)]
            if not len(rows):
                break
    return adversarial


def ascend(
    oracle: Oracle,
    start: Array,
    centre: Array,
    labels: Array,
    region: Ball,
    *,
    steps: int,
    step_size: float,
    loss: AnyLoss = Loss.CROSS_ENTROPY,
) -> Array:
    """The inner loop alone, for training: every image takes every step, and nothing waits for the host."""
    images = start
    for _ in range(steps):
        gradient = oracle.gradient(images, labels, loss).gradient
        images = region.step(images, gradient, step_size, centre)
    return images


def _objective(problem: Problem, text: str) -> Objective:
    objective = Objective.parse(text)
    return objective if problem.targets is None else objective.for_target()


ATTACKS = (
    Attack(
        name="fgsm",
        summary="One step of the whole budget along the gradient's sign.",
        source="Goodfellow, Shlens & Szegedy 2015, Explaining and Harnessing Adversarial Examples.",
        access="gradient",
        parameters=FGSMParameters,
        core=fgsm,
    ),
    Attack(
        name="pgd",
        summary="Projected gradient ascent on the cross-entropy (or another loss) from random starts.",
        source="Madry et al. 2018, Towards Deep Learning Models Resistant to Adversarial Attacks.",
        access="gradient",
        parameters=PGDParameters,
        core=pgd,
    ),
    Attack(
        name="cw-linf",
        summary="PGD on the margin of the logits, what FS and ATLD report as CW.",
        source="Carlini & Wagner 2017, Towards Evaluating the Robustness of Neural Networks (the loss f_6).",
        access="gradient",
        parameters=CWLinfParameters,
        core=pgd,
    ),
)
