"""AutoAttack (Croce & Hein 2020): four attacks with fixed settings, each on the images that still hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from holdfast.attacks.apgd import APGDDLRParameters, APGDParameters, APGDTParameters
from holdfast.attacks.apgd_run import AutoParameters
from holdfast.attacks.arrays import copy, put
from holdfast.attacks.ball import ball
from holdfast.attacks.catalogue import attack_of
from holdfast.attacks.definition import Attack
from holdfast.attacks.eot import EOTOracle
from holdfast.attacks.fab import FABParameters, FABTParameters
from holdfast.attacks.oracle import Array
from holdfast.attacks.parameters import AttackParameters, BoundedParameters, Cost
from holdfast.attacks.problem import Problem, Progress
from holdfast.attacks.square import SquareParameters

#: Answers that ``rand`` takes the mean of (Sec. 6).
_SAMPLES = 20


class AutoAttackParameters(BoundedParameters):
    """The ensemble that robust accuracy is reported by. Only norm and budget are to choose."""

    version: Annotated[
        Literal["standard", "plus", "rand"],
        Field(
            description="standard: apgd-ce, apgd-t, fab-t, square; plus: with apgd-dlr and fab too, and five "
            "restarts; rand, for a model that answers at random: apgd-ce and apgd-dlr on means of 20 answers."
        ),
    ] = "standard"
    steps: Annotated[
        int, Field(ge=1, le=10_000, description="Of APGD and FAB; with other than 100 it is not AutoAttack.")
    ] = 100
    query_budget: Annotated[
        int, Field(ge=1, le=1_000_000, description="Of Square; with other than 5000 it is not AutoAttack.")
    ] = 5000

    @property
    def members(self) -> tuple[AttackParameters, ...]:
        """The attacks, in their order."""
        within = {"norm": self.norm, "epsilon": self.epsilon}
        steps = {**within, "steps": self.steps}
        # FAB in AutoAttack has no final search, and only asks what falls within the budget.
        boundary = {**steps, "final_search": 0, "stop_at_success": True}
        cross_entropy, ratio = APGDParameters.model_validate(steps), APGDDLRParameters.model_validate(steps)
        targeted, nearest = APGDTParameters.model_validate(steps), FABTParameters.model_validate(boundary)
        blind = SquareParameters.model_validate({**within, "query_budget": self.query_budget})
        if self.version == "rand":
            # What just fools a mean of answers fools few single ones.
            return _going_on(cross_entropy), _going_on(ratio)
        if self.version == "standard":
            return cross_entropy, targeted, nearest, blind
        again = {"restarts": 5}
        return (
            cross_entropy.model_copy(update=again),
            ratio.model_copy(update=again),
            FABParameters.model_validate({**boundary, **again}),
            blind,
            targeted,
            nearest,
        )

    @property
    def answers(self) -> int:
        """See :attr:`holdfast.attacks.parameters.AttackParameters.answers`."""
        return _SAMPLES if self.version == "rand" else 1

    def cost(self, classes: int) -> Cost:
        """Of all attacks, and a look after each."""
        spent = Cost(forwards=len(self.members))
        for member in self.members:
            spent += member.cost(classes) * self.answers
        return spent


def autoattack(problem: Problem, parameters: AutoAttackParameters) -> Array:
    """One attack after another; which of them fooled an image goes to its credit."""
    p = parameters
    crafted, members = problem, p.members
    if problem.elsewhere:
        members = tuple(map(_going_on, members))
    if p.answers > 1:
        crafted = replace(problem, oracle=EOTOracle(problem.oracle, p.answers, problem.check))
    region = ball(p.norm, p.epsilon)
    adversarial = copy(problem.images)
    rows = problem.rows
    for member, progress in _stages(problem, members):
        attack = attack_of(member)
        part = crafted.part(rows, progress)
        found = region.project(attack.core(part, member), part.images)
        problem.tally.settle()
        put(adversarial, rows, found)
        fooled = problem.fooled(problem.ask(found, rows), rows)
        problem.credit(rows[fooled], attack.name)
        rows = rows[~fooled]
        if not len(rows):
            break
    return adversarial


def _going_on(member: AttackParameters) -> AttackParameters:
    """The same ascent for as long as there are steps; FAB would go on to what fools the model even less."""
    if not isinstance(member, AutoParameters):
        return member
    return member.model_copy(update={"stop_at_success": False})


def _stages(
    problem: Problem, members: tuple[AttackParameters, ...]
) -> Iterator[tuple[AttackParameters, Progress]]:
    """Each attack with its share of the progress, which is that of its cost."""
    costs = [member.cost(problem.oracle.classes) for member in members]
    lengths = [cost.forwards + cost.backwards for cost in costs]
    whole = sum(lengths)
    for index, member in enumerate(members):
        before, length = sum(lengths[:index]), lengths[index]

        def report(done: int, total: int, before: int = before, length: int = length) -> None:
            problem.progress(before + length * done // total, whole)

        yield member, report


ATTACKS = (
    Attack(
        name="autoattack",
        summary="APGD-CE, APGD-T, FAB-T and Square in turn, each on what the others left: the standard.",
        source="Croce & Hein 2020, Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse "
        "Parameter-free Attacks.",
        access="gradient",
        parameters=AutoAttackParameters,
        core=autoattack,
    ),
)
