"""What keeps a caller with one version of a model, where several share its requests."""

from __future__ import annotations

from fastapi import Request

from serving.gateway.request_id import request_id_of

#: Requests with the same value go to the same version.
ROUTE_KEY = "Holdfast-Route-Key"

_LONGEST = 200


def route_key(request: Request) -> str:
    """What a version is chosen by: what the caller says, e.g. a user's name; else the request's id.

    A request that is sent again under its id comes to the same version.
    """
    return request.headers.get(ROUTE_KEY, "")[:_LONGEST] or request_id_of(request.scope)
