"""What the API's description says of keys, rate limits, and of what can happen to any request."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi import APIRouter

from serving.gateway import problem_kinds, problems
from serving.gateway.access import routes_of
from serving.gateway.problem_kinds import Kind

#: The name of the way to show a key.
SCHEME = "apiKey"

_SECURITY_SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "holdfast_<id>_<secret>",
    "description": "An API key, made with `holdfast keys create`. Its scopes say what it is for.",
}

#: What is found wrong with a request before anybody looks what it is about.
ANYWHERE = (
    problem_kinds.MALFORMED_REQUEST,
    problem_kinds.HEADER_TIMEOUT,
    problem_kinds.URI_TOO_LONG,
    problem_kinds.HEADERS_TOO_LARGE,
    problem_kinds.TOO_MANY_HEADERS,
)

#: What a caller is refused with at a route that is not for everybody.
REFUSALS = (
    problem_kinds.UNAUTHENTICATED,
    problem_kinds.MISSING_SCOPE,
    problem_kinds.FOREIGN_PAGE,
    problem_kinds.RATE_LIMITED,
    problem_kinds.OVERLOADED,
)

_CHALLENGE = {
    "WWW-Authenticate": {
        "description": "How to show a key, by RFC 6750.",
        "required": True,
        "schema": {"type": "string"},
    }
}
_STANDING = {
    "RateLimit-Policy": {
        "description": "Requests (`q`) that are allowed in so many seconds (`w`), where there is a limit.",
        "schema": {"type": "string", "examples": ['"key";q=600;w=60']},
    },
    "RateLimit": {
        "description": "Requests that are left (`r`), and seconds until all are there again (`t`).",
        "schema": {"type": "string", "examples": ['"key";r=598;t=1']},
    },
}


def describe_access(
    description: dict[str, Any], routers: Iterable[APIRouter], *, authenticated: bool
) -> None:
    """Add to a description who may use each operation, and what is answered to who may not.

    Args:
        description: The OpenAPI document.
        routers: Where the operations are from.
        authenticated: Whether the server asks for keys; a key that is optional is described as such.
    """
    from serving.gateway.openapi import operation_id

    description["components"]["securitySchemes"] = {SCHEME: _SECURITY_SCHEME}
    access = {operation_id(route): route.access for router in routers for route in routes_of(router)}
    for address, path in description["paths"].items():
        for operation in path.values():
            needed = access[operation["operationId"]]
            responses = operation["responses"]
            _add(responses, ANYWHERE)
            if needed == "open":
                operation["security"] = []
                continue
            scope = "admin" if needed == "metrics" else needed
            key = {SCHEME: [] if scope == "any" else [scope]}
            operation["security"] = [key] if authenticated else [{}, key]
            _add(responses, REFUSALS, oip=address.startswith("/v2"))
            for status, response in responses.items():
                if status in ("401", "403"):
                    response["headers"] = response["headers"] | _CHALLENGE
                else:
                    response["headers"] = response["headers"] | _STANDING


def _add(responses: dict[str, Any], kinds: tuple[Kind, ...], *, oip: bool = False) -> None:
    """Document more kinds of problems among an operation's answers, maybe as ``/v2`` words them."""
    from serving.gateway.oip.description import error_responses
    from serving.gateway.openapi import problem_responses

    media_type = problems.OIP_MEDIA_TYPE if oip else problems.MEDIA_TYPE
    for status, added in (error_responses if oip else problem_responses)(*kinds).items():
        present = responses.get(str(status))
        if present is None:
            responses[str(status)] = added
            continue
        documented = present["content"].setdefault(media_type, added["content"][media_type])
        new = added["content"][media_type]["examples"]
        missing = {name: example for name, example in new.items() if name not in documented["examples"]}
        if missing:
            # The parts are shared by all operations that were described with the same kinds.
            examples = {**documented["examples"], **missing}
            words = " ".join(f"{example['summary']} (`{name}`)." for name, example in missing.items())
            content = {**present["content"], media_type: {**documented, "examples": examples}}
            responses[str(status)] = {
                **present,
                "description": f"{present['description']} {words}",
                "content": content,
            }
