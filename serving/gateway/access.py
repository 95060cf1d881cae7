"""Who may use which route: every route of the gateway says so in one line.

    router = APIRouter(tags=["attack"], route_class=GatewayRoute)

    @router.post("/v1/models/{model}/attack", ...)
    @requires("attack")
    async def attack(request: Request, ...) -> Response: ...

What a route requires is checked before anything of the request is read, be it a parameter or the body.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Any, Literal, TypeVar, get_args

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute

from serving import tracing
from serving.gateway.parsed_body import read_first
from serving.gateway.services import services_of

#: What a route may ask of its caller: nothing, any valid key, or a key with this scope.
#:
#: ``classify`` is for classifying and for what is known of the models, ``attack`` for attacks and jobs, and
#: ``admin`` for what is the operator's. No scope implies another. ``metrics`` is open where a setting
#: says so, and else asks for ``admin``.
Access = Literal["open", "any", "classify", "attack", "admin", "metrics"]

#: What a route asks for that says nothing: nobody comes in by an oversight.
DEFAULT: Access = "any"

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
Handler = Callable[[Request], Coroutine[Any, Any, Response]]

_DECLARED: dict[Callable[..., Any], Access] = {}


def requires(access: Access) -> Callable[[Endpoint], Endpoint]:
    """Declare what a route asks of its caller; stands below the router's decorator."""
    if access not in get_args(Access):
        raise ValueError(f"{access!r} is none of {get_args(Access)}")

    def declare(endpoint: Endpoint) -> Endpoint:
        _DECLARED[endpoint] = access
        return endpoint

    return declare


def declared(endpoint: Callable[..., Any]) -> Access | None:
    """What a route's function was declared to require, if it was."""
    return _DECLARED.get(endpoint)


class GatewayRoute(APIRoute):
    """A route that lets in only those whom it is for. Every route of the gateway is one.

    A subclass that answers requests otherwise than FastAPI does overrides :meth:`handler`.
    """

    def __init_subclass__(cls, **arguments: Any) -> None:
        """Refuse a subclass that would go round the check."""
        super().__init_subclass__(**arguments)
        if "get_route_handler" in vars(cls):
            raise TypeError(f"{cls.__name__} is to override handler(), not get_route_handler()")

    @property
    def access(self) -> Access:
        """What the route asks of its caller."""
        return _DECLARED.get(self.endpoint, DEFAULT)

    def handler(self) -> Handler:
        """What answers a request that was let in."""
        answer = super().get_route_handler()

        async def handle(request: Request) -> Response:
            if self.body_field is None:
                return await answer(request)
            async with read_first(request) as whole:
                return await answer(whole)

        return handle

    def get_route_handler(self) -> Handler:
        """What answers a request, once it is known that the caller may have the answer."""
        handle = self.handler()

        async def guarded(request: Request) -> Response:
            services = services_of(request)
            tracing.name_request(request.method, services.templates.get(self.endpoint, self.path))
            await services.gate.admit(request.scope, self.access)
            return await handle(request)

        return guarded


def routes_of(router: APIRouter) -> Iterator[GatewayRoute]:
    """Every route of a router, and of those that it includes.

    Raises:
        TypeError: One is not guarded.
    """
    return (route for route, _ in _places(router, ""))


def templates_of(routers: Iterable[APIRouter]) -> dict[Callable[..., Any], str]:
    """The address of every route, such as ``/v1/models/{model}``, by the function that answers."""
    return {route.endpoint: template for router in routers for route, template in _places(router, "")}


def _places(router: APIRouter, prefix: str) -> Iterator[tuple[GatewayRoute, str]]:
    for route in router.routes:
        included = getattr(route, "original_router", None)  # as FastAPI keeps an included router
        if isinstance(included, APIRouter):
            yield from _places(included, prefix + route.include_context.prefix)  # type: ignore[attr-defined]
        elif isinstance(route, GatewayRoute):
            yield route, prefix + route.path
        else:
            raise TypeError(
                f"{getattr(route, 'path', route)} is not guarded: make its router with "
                "APIRouter(route_class=GatewayRoute), and say below the route's decorator what it "
                "@requires (serving/gateway/access.py)"
            )
