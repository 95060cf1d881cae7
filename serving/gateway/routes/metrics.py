"""``GET /metrics``: for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from serving.backends.load import Loaded
from serving.gateway import problem_kinds
from serving.gateway.access import GatewayRoute, requires
from serving.gateway.metrics import MEDIA_TYPE
from serving.gateway.openapi import problem_responses
from serving.gateway.services import services_of

router = APIRouter(tags=["health"], route_class=GatewayRoute)


@router.get(
    "/metrics",
    summary="What has been counted",
    response_class=Response,
    responses={
        200: {
            "description": "Prometheus's text format.",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        },
        **problem_responses(problem_kinds.INTERNAL_ERROR),
    },
)
@requires("metrics")
async def metrics(request: Request) -> Response:
    """What has been counted and measured since the server began, and how it is at this moment."""
    services = services_of(request)
    backend, state = services.lifecycle.backend, services.lifecycle.state
    up = await backend.ready()
    load = backend.load() if isinstance(backend, Loaded) else None
    services.metrics.set_backend(backend.name, ready=up and state == "ready", up=up, load=load)
    attacker = services.attacks.attacker
    services.metrics.set_attacks(waiting=attacker.waiting, running=attacker.running)
    await services.jobs.measure()
    return Response(services.metrics.render(), media_type=MEDIA_TYPE)
