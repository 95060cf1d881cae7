"""Random noise: the sanity floor. A model that falls to it falls to anything; no attack may do worse."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from holdfast.attacks.arrays import copy, put, take
from holdfast.attacks.ball import ball
from holdfast.attacks.definition import Attack
from holdfast.attacks.oracle import Array
from holdfast.attacks.parameters import BoundedParameters, Cost
from holdfast.attacks.problem import Problem


class NoiseParameters(BoundedParameters):
    """Draws from the ball, each asked of the model."""

    tries: Annotated[int, Field(ge=1, le=10_000, description="Draws; an image is lost if any fools it.")] = 10

    def cost(self, classes: int) -> Cost:
        """One forward pass for each draw."""
        del classes
        return Cost(forwards=self.tries)


def random_noise(problem: Problem, parameters: NoiseParameters) -> Array:
    """For each image the first draw that fools the model, else the last one."""
    region = ball(parameters.norm, parameters.epsilon)
    adversarial = copy(problem.images)
    rows = problem.rows
    for draw in range(parameters.tries):
        candidates = region.random(take(problem.images, rows), problem.noise.take(rows))
        put(adversarial, rows, candidates)
        rows = rows[~problem.fooled(problem.ask(candidates, rows), rows)]
        problem.progress(draw + 1, parameters.tries)
        if not len(rows):
            break
    return adversarial


ATTACKS = (
    Attack(
        name="noise",
        summary="Random images of the ball: the floor that every attack must beat.",
        source="A sanity check; see Carlini et al. 2019, On Evaluating Adversarial Robustness.",
        access="decision",
        parameters=NoiseParameters,
        core=random_noise,
    ),
)
