"""``GET /metrics``: for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from serving.gateway import problems
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
        **problem_responses(problems.INTERNAL_ERROR),
    },
)
@requires("metrics")
async def metrics(request: Request) -> Response:
    """Images by the verdict of their model's manifold evidence: the live monitor of suspicious traffic."""
    services = services_of(request)
    await services.jobs.measure()
    return Response(services.metrics.render(), media_type=MEDIA_TYPE)
