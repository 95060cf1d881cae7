"""How the API's description says what is peculiar to ``/v2``: its errors, and bodies that may be bytes."""

from __future__ import annotations

from typing import Any

from serving.gateway.oip.schemas import ErrorDocument, InferRequest, InferResponse
from serving.gateway.openapi import answer_headers
from serving.gateway.problem_kinds import Kind
from serving.gateway.problems import OIP_MEDIA_TYPE

_REFERENCE = "#/components/schemas/{}"
_BINARY = "application/octet-stream"
_HEADER_LENGTH = {
    "description": "How many of the body's bytes are JSON. The tensors' bytes follow, in the order of the "
    "tensors, as little-endian values in row-major order; each of `BYTES` comes after its length in four.",
    "schema": {"type": "integer", "minimum": 0},
}

INFER_BODY: dict[str, Any] = {
    "parameters": [
        {"name": "Inference-Header-Content-Length", "in": "header", "required": False, **_HEADER_LENGTH}
    ],
    "requestBody": {
        "required": True,
        "description": "JSON; or JSON with the tensor as bytes behind it; or, where the header "
        "Inference-Header-Content-Length is 0, nothing but the bytes of the images.",
        "content": {
            "application/json": {"schema": {"$ref": _REFERENCE.format(InferRequest.__name__)}},
            _BINARY: {"schema": {"type": "string", "contentMediaType": _BINARY}},
        },
    },
}

INDEX_BODY: dict[str, Any] = {
    "requestBody": {
        "required": False,
        "content": {"application/json": {"schema": {"$ref": _REFERENCE.format("RepositoryIndexRequest")}}},
    }
}

INFER_ANSWER: dict[str, Any] = {
    "description": "The outputs, as JSON or, where any was wished as bytes, as JSON and bytes.",
    "headers": {"Inference-Header-Content-Length": _HEADER_LENGTH},
    "content": {
        "application/json": {"schema": {"$ref": _REFERENCE.format(InferResponse.__name__)}},
        _BINARY: {"schema": {"type": "string", "contentMediaType": _BINARY}},
    },
}


def error_responses(*kinds: Kind) -> dict[int | str, dict[str, Any]]:
    """The documented answers for these kinds of problems, by status, as ``/v2`` words them."""
    responses: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        response = responses.setdefault(
            kind.oip_status,
            {
                "description": "",
                "headers": answer_headers(kind.status),
                "content": {
                    OIP_MEDIA_TYPE: {
                        "schema": {"$ref": _REFERENCE.format(ErrorDocument.__name__)},
                        "examples": {},
                    }
                },
            },
        )
        response["description"] = f"{response['description']} {kind.title}.".strip()
        example = {"summary": kind.title, "value": {"error": kind.advice}}
        response["content"][OIP_MEDIA_TYPE]["examples"][kind.name] = example
    return responses
