"""Every route says whom it is for, and lets in nobody else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi import APIRouter, Request
from fastapi.routing import APIRoute

from serving.gateway import app as app_module
from serving.gateway.access import DEFAULT, GatewayRoute, declared, requires, routes_of

#: What anybody may have: health, pages, and the API's description, which says how to get in.
OPEN = {
    "/",
    "/livez",
    "/readyz",
    "/docs",
    "/problems",
    "/assets/{name}",
    "/playground/{digest}/{name:path}",
    "/openapi.json",
    "/v2/health/live",
    "/v2/health/ready",
}


def routes() -> Iterator[GatewayRoute]:
    for router in app_module.ROUTERS:
        yield from routes_of(router)


def test_every_route_is_guarded_and_declares_whom_it_is_for() -> None:
    found = list(routes())
    assert len(found) > 10
    for route in found:
        assert declared(route.endpoint) is not None, f"{route.path} does not say what it @requires"


def test_open_are_only_those_that_are_to_be() -> None:
    assert {route.path for route in routes() if route.access == "open"} <= OPEN


def test_scope_is_that_of_the_routes_kind() -> None:
    for route in routes():
        if route.path.startswith("/v1/admin"):
            assert route.access == "admin"
        elif route.path.endswith("/attack") or route.path.startswith("/v1/jobs"):
            assert route.access == "attack"
        elif route.path.startswith(("/v1/models", "/v2/models", "/models")):
            assert route.access == "classify", route.path


def test_route_that_says_nothing_asks_for_a_key() -> None:
    router = APIRouter(route_class=GatewayRoute)

    @router.get("/here")
    async def here(request: Request) -> None: ...

    [route] = router.routes
    assert isinstance(route, GatewayRoute)
    assert (route.access, DEFAULT) == ("any", "any")


def test_router_of_plain_routes_is_refused() -> None:
    router = APIRouter()

    @router.get("/here")
    async def here(request: Request) -> None: ...

    with pytest.raises(TypeError, match="/here is not guarded"):
        list(routes_of(router))


def test_route_class_that_goes_round_the_check_is_refused() -> None:
    with pytest.raises(TypeError, match="handler"):
        type("Sly", (GatewayRoute,), {"get_route_handler": APIRoute.get_route_handler})


def test_there_is_no_scope_but_those_there_are() -> None:
    with pytest.raises(ValueError, match="root"):
        requires("root")  # type: ignore[arg-type]
