"""``GET /v1/attacks``: what there is to attack with."""

from __future__ import annotations

from functools import cache
from typing import Annotated

from fastapi import APIRouter, Path, Request

from holdfast.attacks.catalogue import catalogue
from holdfast.attacks.definition import Attack
from holdfast.attacks.description import describe
from holdfast.attacks.parameters import announced
from serving.gateway import problem_kinds
from serving.gateway.access import GatewayRoute, requires
from serving.gateway.attack.schemas import AttackCatalogue, AttackEntry, AttackPasses
from serving.gateway.openapi import problem_responses
from serving.gateway.problem_kinds import UNKNOWN_ATTACK
from serving.gateway.problems import Problem

#: Of the costs that are shown.
_CLASSES = 10

router = APIRouter(tags=["attack"], route_class=GatewayRoute)


@router.get(
    "/v1/attacks", summary="List the attacks", responses=problem_responses(problem_kinds.INTERNAL_ERROR)
)
@requires("any")
def list_attacks(request: Request) -> AttackCatalogue:
    """Every attack, from the plainest to the strongest, with the JSON Schema of its parameters."""
    del request
    return AttackCatalogue(attacks=[_entry(attack) for attack in catalogue().values()])


@router.get(
    "/v1/attacks/{name}",
    summary="Describe an attack",
    responses=problem_responses(problem_kinds.UNKNOWN_ATTACK, problem_kinds.INTERNAL_ERROR),
)
@requires("any")
def get_attack(
    request: Request, name: Annotated[str, Path(description="The attack's name, such as pgd.")]
) -> AttackEntry:
    """One attack: what it does, what it asks of a model, its parameters as JSON Schema, and its cost."""
    del request
    found = catalogue().get(name)
    if found is None:
        raise Problem(
            UNKNOWN_ATTACK,
            f"There is no attack '{name[:40]}'. There are: {', '.join(catalogue())}.",
            members={"offered": list(catalogue())},
        )
    return _entry(found)


@cache
def _entry(attack: Attack) -> AttackEntry:
    cost = announced(attack.parameters(), _CLASSES)
    passes = AttackPasses(forwards=cost.forwards, backwards=cost.backwards, classes=_CLASSES)
    return AttackEntry(**describe(attack).model_dump(), passes=passes)
