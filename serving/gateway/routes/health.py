"""``/livez`` and ``/readyz``: for whatever starts, watches and balances servers."""

from __future__ import annotations

from fastapi import APIRouter, Request

from serving.gateway import problem_kinds
from serving.gateway.access import GatewayRoute, requires
from serving.gateway.lifecycle import Lifecycle
from serving.gateway.openapi import problem_responses
from serving.gateway.problem_kinds import NOT_READY
from serving.gateway.problems import Problem, retry_after
from serving.gateway.schemas import Health
from serving.gateway.services import services_of

router = APIRouter(tags=["health"], route_class=GatewayRoute)

_PROBLEMS = problem_responses(problem_kinds.INTERNAL_ERROR, problem_kinds.NOT_READY)


@router.head("/livez", include_in_schema=False)
@router.get("/livez", summary="Is the server alive?", responses=_PROBLEMS)
@requires("open")
async def livez(request: Request) -> Health:
    """Alive from the first moment until the end, unless the models could not be loaded: then restart it."""
    demand_alive(services_of(request).lifecycle)
    return Health(status="alive")


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", summary="Can the server classify?", responses=_PROBLEMS)
@requires("open")
async def readyz(request: Request) -> Health:
    """Ready when the models are loaded and warm, and until the server begins to shut down."""
    await demand_ready(services_of(request).lifecycle)
    return Health(status="ready")


def demand_alive(lifecycle: Lifecycle) -> None:
    """See :func:`livez`.

    Raises:
        Problem: The models could not be loaded.
    """
    if lifecycle.state == "failed":
        raise Problem(NOT_READY, lifecycle.describe(), retry_after(1))


async def demand_ready(lifecycle: Lifecycle) -> None:
    """See :func:`readyz`.

    Raises:
        Problem: A classification asked for now cannot be expected to succeed.
    """
    if not await lifecycle.ready():
        reason = lifecycle.describe()
        if lifecycle.state == "ready":
            reason = "What runs the models does not answer at the moment."
        raise Problem(NOT_READY, reason, retry_after(1))
