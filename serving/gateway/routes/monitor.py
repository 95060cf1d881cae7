"""``GET /v1/monitor``: the last minutes, for people. Prometheus's way is ``/metrics``."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from serving.gateway import problem_kinds
from serving.gateway.access import GatewayRoute, requires
from serving.gateway.monitor.recent import MINUTES
from serving.gateway.monitor.report import report
from serving.gateway.monitor.schemas import MonitorReport
from serving.gateway.openapi import answer_headers, problem_responses
from serving.gateway.services import services_of

router = APIRouter(tags=["health"], route_class=GatewayRoute)

#: What changes though nothing happens.
_RESTLESS: Any = {"time": True, "begin": True, "server": {"uptime_s", "memory_bytes"}}


@router.get(
    "/v1/monitor",
    summary="See the last minutes",
    response_model=MonitorReport,
    responses={
        304: {"description": "Nothing has happened since.", "headers": answer_headers(304)},
        **problem_responses(problem_kinds.INVALID_REQUEST, problem_kinds.INTERNAL_ERROR),
    },
)
# It tells what /metrics tells, of all callers together, and so is for whom that is for.
@requires("metrics")
async def monitor(
    request: Request,
    minutes: Annotated[int, Query(ge=1, le=MINUTES, description="How many minutes to tell of.")] = 5,
) -> Response:
    """What was asked in the last minutes and how it went, in steps of some seconds; and how it is now.

    It is kept in memory, of this process alone. For longer and for several gateways there is `/metrics`.
    The answer has an `ETag`, which stays the same while nothing happens: send it in `If-None-Match`.
    """
    found = await report(services_of(request), minutes)
    moving = found.model_dump_json(exclude=_RESTLESS).encode()
    # Weak: what stays the same are the figures, and not every byte.
    etag = f'W/"{hashlib.sha256(moving).hexdigest()[:16]}"'
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    return Response(found.model_dump_json(), media_type="application/json", headers=headers)
