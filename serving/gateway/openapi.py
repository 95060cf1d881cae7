"""The API's description: what FastAPI cannot see for itself in the routes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from holdfast.version import __version__
from serving.gateway.attack.describing import schemas as attack_schemas
from serving.gateway.examples import PROBLEM, RED_PNG
from serving.gateway.oip.schemas import DESCRIBED as OIP_SCHEMAS
from serving.gateway.openapi_access import describe_access
from serving.gateway.problem_kinds import Kind
from serving.gateway.problems import MEDIA_TYPE
from serving.gateway.schemas import ProblemDocument
from serving.gateway.uploads import FORM, IMAGE_TYPES, JSON, ImagesBody
from serving.jobs.requests import CampaignRequest

TITLE = "Holdfast"

DESCRIPTION = """\
Classifies images with the models of a store.

Errors are problem documents by RFC 9457, `application/problem+json`; [/problems](/problems) lists every kind.
Under `/v2` they are `{"error": "…"}`, as the Open Inference Protocol has it.
Every answer carries `X-Request-Id`: your own, where the request had one that is well formed, else a new one.
Where an answer is 429 or 503, `Retry-After` says after how many seconds to come back.
"""

TAGS = [
    {"name": "classify", "description": "Ask a model what an image shows."},
    {"name": "attack", "description": "Attack an image, now; and the attacks there are."},
    {"name": "jobs", "description": "Attack many images: campaigns that outlive the server."},
    {"name": "models", "description": "What is served, and what was measured on it."},
    {"name": "admin", "description": "Run the server: take new models, choose which version answers."},
    {
        "name": "open inference protocol",
        "description": "For clients that speak it already: of KServe, Triton, MLServer.",
    },
    {"name": "health", "description": "For whatever starts, watches and balances servers."},
]

_REFERENCE = "#/components/schemas/{}"

_REQUEST_ID_HEADER = {
    "X-Request-Id": {"description": "The request's id.", "required": True, "schema": {"type": "string"}}
}
_RETRY_AFTER_HEADER = {
    "Retry-After": {
        "description": "Seconds after which to come back.",
        "schema": {"type": "integer", "minimum": 1},
    }
}

#: The bodies that a classification takes.
CLASSIFY_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "One image as it is, several as the files of a form, or base64 in JSON.",
        "content": {
            **{
                media_type: {"schema": {"type": "string", "contentMediaType": media_type}}
                for media_type in IMAGE_TYPES
            },
            FORM: {
                "schema": {
                    "type": "object",
                    "description": "Every file is an image; the names of the fields do not matter.",
                    "properties": {
                        "image": {
                            "type": "array",
                            "items": {"type": "string", "contentMediaType": "application/octet-stream"},
                        }
                    },
                    "required": ["image"],
                }
            },
            JSON: {
                "schema": {"$ref": _REFERENCE.format(ImagesBody.__name__)},
                "examples": {
                    "one": {"summary": "One image, base64", "value": {"image": RED_PNG}},
                    "several": {
                        "summary": "Several images, one of them a data URL",
                        "value": {"images": [RED_PNG, f"data:image/png;base64,{RED_PNG}"]},
                    },
                },
            },
        },
    }
}


def problem_responses(*kinds: Kind) -> dict[int | str, dict[str, Any]]:
    """The documented answers for these kinds of problems, by status."""
    responses: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        response = responses.setdefault(
            kind.status,
            {
                "description": "",
                "headers": answer_headers(kind.status),
                "content": {
                    MEDIA_TYPE: {
                        "schema": {"$ref": _REFERENCE.format(ProblemDocument.__name__)},
                        "examples": {},
                    }
                },
            },
        )
        title = f"{kind.title} (`{kind.name}`)."
        response["description"] = f"{response['description']} {title}".strip()
        example = PROBLEM | {
            "type": kind.type,
            "title": kind.title,
            "status": kind.status,
            "detail": kind.advice,
        }
        response["content"][MEDIA_TYPE]["examples"][kind.name] = {"summary": kind.title, "value": example}
    return responses


def answer_headers(status: int) -> dict[str, Any]:
    """The headers of an answer with this status."""
    return _REQUEST_ID_HEADER | (_RETRY_AFTER_HEADER if status in (429, 503) else {})


def operation_id(route: APIRoute) -> str:
    """An operation is called what its function is called, so that generated clients read well."""
    return route.name


def install(app: FastAPI, routers: Sequence[APIRouter]) -> None:
    """Let the application describe itself with what the routes do not show: bodies, problems, scopes."""

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _describe(app, routers)
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign]


def _describe(app: FastAPI, routers: Sequence[APIRouter]) -> dict[str, Any]:
    description = get_openapi(
        title=TITLE,
        version=__version__,
        summary="Image classifiers that hold under adversarial attack",
        description=DESCRIPTION,
        tags=TAGS,
        routes=app.routes,
        license_info={"name": "Apache 2.0", "identifier": "Apache-2.0"},
    )
    schemas = description["components"]["schemas"]
    for model in (ProblemDocument, ImagesBody, CampaignRequest, *OIP_SCHEMAS):
        schema = model.model_json_schema(ref_template=_REFERENCE.format("{model}"))
        schemas.update(schema.pop("$defs", {}))
        schemas[model.__name__] = schema
    schemas.update(attack_schemas())
    for path in description["paths"].values():
        for operation in path.values():
            responses = operation["responses"]
            for status in responses.keys() & {"200", "202"}:
                responses[status]["headers"] = responses[status].get("headers", {}) | _REQUEST_ID_HEADER
            # FastAPI promises an answer of its own wherever there is a parameter; ours are promised above.
            refusal = responses.get("422")
            if refusal is not None and MEDIA_TYPE not in refusal["content"]:
                del responses["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    authenticated = app.state.services.gate.keyring is not None
    describe_access(description, routers, authenticated=authenticated)
    return description
