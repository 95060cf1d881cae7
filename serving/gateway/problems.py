"""Everything that can go wrong with a request, as RFC 9457 problem documents.

A problem's ``type`` is a place on this server, ``/problems#<name>``, where a person can read what it means.
Nothing internal (a stack trace, a path, a class) ever becomes part of an answer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match, Route

from holdfast import image_errors, npy
from holdfast.errors import HoldfastError
from holdfast.oip import wire
from holdfast.routing import RoutingError
from serving.attacking.base import AttackerLostError, NotApplicableError
from serving.backends import base
from serving.gateway.problem_kinds import (
    ATTACK_INTERRUPTED,
    ATTACK_NOT_APPLICABLE,
    BACKEND_UNAVAILABLE,
    DAMAGED_IMAGE,
    DEADLINE_EXCEEDED,
    DEFENCE_NOT_OFFERED,
    EMPTY_IMAGE,
    INFERENCE_FAILED,
    INVALID_REQUEST,
    JOB_NOT_FINISHED,
    JOBS_QUOTA,
    JSON_TOO_DEEP,
    KEY_REUSED,
    MALFORMED_BODY,
    METHOD_NOT_ALLOWED,
    NOT_AN_IMAGE,
    NOT_FOUND,
    OVERLOADED,
    RELOAD_UNSUPPORTED,
    ROUTING_REFUSED,
    STORAGE_FULL,
    STORAGE_UNAVAILABLE,
    TOO_MANY_BYTES,
    TOO_MANY_IMAGES,
    TOO_MANY_PIXELS,
    TRUNCATED_IMAGE,
    UNKNOWN_JOB,
    UNKNOWN_MODEL,
    UNKNOWN_RUN,
    UNKNOWN_VERSION,
    UNSUPPORTED_IMAGE,
    Kind,
)
from serving.gateway.request_id import request_id_of
from serving.jobs import errors as job_errors

MEDIA_TYPE = "application/problem+json"
#: Errors under /v2 are worded by another convention, the Open Inference Protocol's.
OIP_MEDIA_TYPE = "application/json"

#: Levels of brackets in JSON that pydantic's parser accepts; it has no setting for it.
JSON_DEPTH = 201


#: What Holdfast raises, and the kind of problem it is for a caller; the most special class comes first.
_KINDS_OF_ERRORS: tuple[tuple[type[HoldfastError], Kind], ...] = (
    (image_errors.EmptyImageError, EMPTY_IMAGE),
    (image_errors.TooManyBytesError, TOO_MANY_BYTES),
    (image_errors.TooManyPixelsError, TOO_MANY_PIXELS),
    (image_errors.UnsupportedFormatError, UNSUPPORTED_IMAGE),
    (image_errors.NotAnImageError, NOT_AN_IMAGE),
    (image_errors.TruncatedImageError, TRUNCATED_IMAGE),
    (image_errors.ImageError, DAMAGED_IMAGE),
    (job_errors.UnknownJobError, UNKNOWN_JOB),
    (job_errors.UnknownRunError, UNKNOWN_RUN),
    (job_errors.JobNotFinishedError, JOB_NOT_FINISHED),
    (job_errors.KeyReusedError, KEY_REUSED),
    (job_errors.TooManyJobsError, OVERLOADED),
    (job_errors.QuotaError, JOBS_QUOTA),
    (job_errors.StorageFullError, STORAGE_FULL),
    (job_errors.StorageError, STORAGE_UNAVAILABLE),
    (base.UnknownModelError, UNKNOWN_MODEL),
    (base.UnknownVersionError, UNKNOWN_VERSION),
    (base.UnsupportedDefenceError, DEFENCE_NOT_OFFERED),
    (base.OverloadedError, OVERLOADED),
    (base.DeadlineExceededError, DEADLINE_EXCEEDED),
    (NotApplicableError, ATTACK_NOT_APPLICABLE),
    (AttackerLostError, ATTACK_INTERRUPTED),
    (base.UnavailableError, BACKEND_UNAVAILABLE),
    (base.InferenceError, INFERENCE_FAILED),
    (base.ReloadUnsupportedError, RELOAD_UNSUPPORTED),
    (RoutingError, ROUTING_REFUSED),
    (wire.TooManyValuesError, TOO_MANY_IMAGES),
    (wire.ProtocolError, INVALID_REQUEST),
    (npy.ArrayError, INVALID_REQUEST),
)


@dataclass
class Problem(Exception):  # noqa: N818 - the noun of RFC 9457
    """A request ends with this problem.

    Attributes:
        kind: What kind of problem it is.
        detail: This occurrence: what was given, what was expected.
        headers: Further headers of the answer, e.g. ``Retry-After``.
        members: Further members of the document.
    """

    kind: Kind
    detail: str
    headers: Mapping[str, str] = field(default_factory=dict)
    members: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Let the exception carry its detail as its message."""
        super().__init__(self.detail)

    @classmethod
    def of(cls, error: Exception) -> Problem | None:
        """The problem that an error is for a caller; ``None`` if it is none of theirs."""
        if isinstance(error, Problem):
            return error
        if not isinstance(error, HoldfastError):
            return None
        kind = next((kind for known, kind in _KINDS_OF_ERRORS if isinstance(error, known)), None)
        if kind is None:
            return None
        timed = (base.OverloadedError, base.UnavailableError)
        seconds = error.retry_after if isinstance(error, timed) else 1.0
        headers = retry_after(seconds) if kind.status == 503 else {}
        return cls(kind, f"{error.message} {error.hint}".strip(), headers)

    def document(self, instance: str, request_id: str) -> dict[str, Any]:
        """The members of the problem document."""
        return {
            "type": self.kind.type,
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
            "instance": instance,
            "request_id": request_id,
            **self.members,
        }

    def response(self, request: Request) -> Response:
        """The answer to ``request``; under ``/v2`` as the Open Inference Protocol has it."""
        if request.scope["path"].startswith("/v2/") or request.scope["path"] == "/v2":
            content = to_json({"error": self.detail})
            return Response(content, self.kind.oip_status, dict(self.headers), OIP_MEDIA_TYPE)
        document = self.document(quote(request.scope["path"]), request_id_of(request.scope))
        return Response(to_json(document), self.kind.status, dict(self.headers), MEDIA_TYPE)


def retry_after(seconds: float) -> dict[str, str]:
    """The header that asks to come back after whole seconds, at least one."""
    return {"Retry-After": str(max(1, math.ceil(seconds)))}


def install(app: FastAPI) -> None:
    """Let every error of the application be answered with a problem document."""
    for error_type in (Problem, HoldfastError, RequestValidationError, HTTPException):
        app.add_exception_handler(error_type, _answer)


async def _answer(request: Request, error: Exception) -> Response:
    """Answer with the problem that the error is for the caller; what is none of theirs goes on."""
    if isinstance(error, RequestValidationError):
        problem: Problem | None = invalid_request(error.errors())
    elif isinstance(error, HTTPException):
        problem = _of_framework(request, error)
    else:
        problem = Problem.of(error)
    if problem is None:
        raise error
    return problem.response(request)


def _of_framework(request: Request, error: HTTPException) -> Problem | None:
    """The problem behind an error that the framework raised: no such address, or not with this method."""
    headers = dict(error.headers or {})
    if error.status_code == 404:
        return Problem(NOT_FOUND, f"There is nothing at {request.url.path}. {NOT_FOUND.advice}", headers)
    if error.status_code == 405:
        allowed = ", ".join(sorted(_methods(request)))
        detail = f"{request.url.path} does not take {request.method}; it takes {allowed or 'other methods'}."
        return Problem(METHOD_NOT_ALLOWED, detail, headers | ({"Allow": allowed} if allowed else {}))
    if 400 <= error.status_code < 500:
        return Problem(MALFORMED_BODY, MALFORMED_BODY.advice, headers)
    return None


def _methods(request: Request) -> set[str]:
    """What may be done at a request's address: the framework names the methods of one route of several."""
    found = (
        route.methods for route in _routes(request.app) if route.matches(request.scope)[0] is not Match.NONE
    )
    return {method for methods in found for method in methods or ()}


def _routes(router: Any) -> Iterator[Route]:
    """The routes of an application, and of the routers that it includes."""
    for route in router.routes:
        if isinstance(route, Route):
            yield route
        elif inner := getattr(route, "original_router", None):
            yield from _routes(inner)


#: Errors of one request that are listed one by one.
_MOST_LISTED = 100


def invalid_request(errors: Sequence[Mapping[str, Any]]) -> Problem:
    """The problem of a request that pydantic refused."""
    listed = [{"where": _place(error["loc"]), "message": _sentence(error)} for error in errors[:_MOST_LISTED]]
    first = listed[0]
    more = f" There are {len(errors) - 1} more such errors." if len(errors) > 1 else ""
    return Problem(INVALID_REQUEST, f"{first['where']}: {first['message']}{more}", members={"errors": listed})


def not_json(reason: str) -> Problem:
    """The problem of a body that pydantic's parser of JSON refused.

    Args:
        reason: What the parser says.
    """
    if "recursion limit" in reason:
        return Problem(
            JSON_TOO_DEEP,
            f"The body is JSON of more than the {JSON_DEPTH} levels that are accepted.",
            members={"limit": JSON_DEPTH},
        )
    reason = reason.removeprefix("Invalid JSON: ")
    return Problem(MALFORMED_BODY, f"The body is not JSON: {reason}.")


def _place(location: Sequence[int | str]) -> str:
    """Where in the request, as a person would say it: ``query top_k``, ``body images[2]``."""
    if not location:
        return "body"
    part, *rest = location
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in rest)
    return f"{part} {path.lstrip('.')}".strip()


def _sentence(error: Mapping[str, Any]) -> str:
    if error["type"] == "extra_forbidden":
        return "There is nothing of this name."
    message = str(error["msg"]).removeprefix("Value error, ")
    given = error.get("input")
    shown = ""
    if isinstance(given, str | int | float | bool) and error["type"] != "json_invalid":
        text = json.dumps(given, ensure_ascii=False)
        shown = f", not {text}" if len(text) <= 80 else ""
    return f"{message}{shown}."
