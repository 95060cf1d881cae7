"""Everything that can go wrong with a request, as RFC 9457 problem documents.

A problem's ``type`` is a place on this server, ``/problems#<name>``, where a person can read what it means.
Nothing internal (a stack trace, a path, a class) ever becomes part of an answer.
"""

from __future__ import annotations

import bisect
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
from serving.gateway.request_id import request_id_of
from serving.jobs import errors as job_errors

MEDIA_TYPE = "application/problem+json"
#: Errors under /v2 are worded by another convention, the Open Inference Protocol's.
OIP_MEDIA_TYPE = "application/json"

#: Levels of brackets in JSON that pydantic's parser accepts; it has no setting for it.
JSON_DEPTH = 201


@dataclass(frozen=True)
class Kind:
    """One kind of problem.

    Attributes:
        name: Its place on the problems page.
        status: The HTTP status it is answered with.
        title: What it is, the same at every occurrence.
        advice: What the caller can do about it.
    """

    name: str
    status: int
    title: str
    advice: str

    @property
    def type(self) -> str:
        """The URI that identifies the kind, relative to the server."""
        return f"/problems#{self.name}"

    @property
    def oip_status(self) -> int:
        """The status under ``/v2``, where servers answer 400 to all input that they cannot use."""
        return 400 if self.status == 422 else self.status


#: Every kind there is, by status.
KINDS: list[Kind] = []


def _kind(name: str, status: int, title: str, advice: str) -> Kind:
    kind = Kind(name, status, title, advice)
    bisect.insort(KINDS, kind, key=lambda each: each.status)
    return kind


MALFORMED_BODY = _kind(
    "malformed-body",
    400,
    "The body cannot be read",
    "Check that the body is complete and is what its Content-Type says.",
)
MALFORMED_REQUEST = _kind(
    "malformed-request", 400, "This is not HTTP", "Check what sends the request, and what is in between."
)
JSON_TOO_DEEP = _kind(
    "json-too-deep", 400, "The JSON is nested too deeply", "Send it with fewer levels of brackets."
)
UNAUTHENTICATED = _kind(
    "unauthenticated",
    401,
    "This needs a valid key",
    "Send one as Authorization: Bearer KEY. Who runs the server makes them with: holdfast keys create.",
)
MISSING_SCOPE = _kind(
    "missing-scope",
    403,
    "The key is not for this",
    "The scope member says which scope a key needs here; who runs the server makes such keys.",
)
FOREIGN_PAGE = _kind(
    "foreign-page",
    403,
    "This came from a page of another host",
    "Name the host in HOLDFAST_ALLOWED_HOSTS, or its pages in HOLDFAST_CORS_ORIGINS, or make keys.",
)
NOT_FOUND = _kind("not-found", 404, "There is nothing here", "See /docs for the addresses that exist.")
UNKNOWN_MODEL = _kind("unknown-model", 404, "There is no such model", "GET /v1/models lists the models.")
UNKNOWN_VERSION = _kind(
    "unknown-version", 404, "The model has no such version", "GET /v1/models/{model} lists its versions."
)
UNKNOWN_ATTACK = _kind("unknown-attack", 404, "There is no such attack", "GET /v1/attacks lists the attacks.")
METHOD_NOT_ALLOWED = _kind(
    "method-not-allowed",
    405,
    "This address does not take that method",
    "The Allow header names those that it takes.",
)
NOT_ACCEPTABLE = _kind(
    "not-acceptable",
    406,
    "The answer cannot be of a type that is accepted",
    "The offered member lists what the Accept header may name.",
)
HEADER_TIMEOUT = _kind(
    "header-timeout", 408, "The request took too long to arrive", "Send its headers at once."
)
BODY_TIMEOUT = _kind(
    "body-timeout", 408, "The body took too long to arrive", "Send it faster, or send less at once."
)
ROUTING_REFUSED = _kind(
    "routing-refused",
    409,
    "The routing cannot be so",
    "GET /v1/models/{model} lists the versions that there are.",
)
TOO_MANY_BYTES = _kind("too-many-bytes", 413, "Too many bytes", "Send a smaller image, or fewer at once.")
TOO_MANY_PIXELS = _kind("too-many-pixels", 413, "Too many pixels", "Scale the image down before sending it.")
TOO_MANY_IMAGES = _kind("too-many-images", 413, "Too many images", "Send them in several requests.")
URI_TOO_LONG = _kind(
    "uri-too-long", 414, "The address is too long", "Send what is in it in the body, or in several requests."
)
UNSUPPORTED_MEDIA_TYPE = _kind(
    "unsupported-media-type",
    415,
    "This content type is not accepted",
    "Send an image (image/png, image/jpeg, image/webp), a form (multipart/form-data) or application/json.",
)
UNSUPPORTED_ENCODING = _kind(
    "unsupported-content-encoding",
    415,
    "The body is compressed in a way that is not accepted",
    "Send it as it is, or with Content-Encoding gzip or deflate.",
)
UNSUPPORTED_IMAGE = _kind(
    "unsupported-image-format",
    415,
    "This image format is not accepted",
    "Send the image as PNG, JPEG or WebP.",
)
INVALID_REQUEST = _kind(
    "invalid-request",
    422,
    "The request does not follow the schema",
    "The errors member says what is wrong where.",
)
NO_IMAGES = _kind("no-images", 422, "The request has no image", "Send at least one image.")
EMPTY_IMAGE = _kind("empty-image", 422, "The image is empty", "Check that the file has content.")
NOT_AN_IMAGE = _kind("not-an-image", 422, "This is not an image", "Send a PNG, JPEG or WebP image.")
TRUNCATED_IMAGE = _kind("truncated-image", 422, "The image is truncated", "Send the whole file.")
DAMAGED_IMAGE = _kind("damaged-image", 422, "The image is damaged", "Open it in an editor and save it again.")
BAD_BASE64 = _kind(
    "bad-base64",
    422,
    "The image is not base64",
    "Encode it with the standard alphabet (RFC 4648, section 4).",
)
DEFENCE_NOT_OFFERED = _kind(
    "defence-not-offered",
    422,
    "The model does not offer this defence",
    "The offered member lists those it offers.",
)
ATTACK_NOT_OFFERED = _kind(
    "attack-not-offered",
    422,
    "There is no attack of this name",
    "The offered member lists the attacks; GET /v1/attacks describes them.",
)
UNKNOWN_CLASS = _kind(
    "unknown-class", 422, "The model has no such class", "The offered member lists the classes."
)
ATTACK_NOT_APPLICABLE = _kind(
    "attack-not-applicable",
    422,
    "The attack cannot be run on this model",
    "Choose another loss or another attack.",
)
ATTACK_TOO_COSTLY = _kind(
    "attack-too-costly",
    422,
    "The attack would cost more than one request may",
    "Ask for less, such as fewer steps, or make it a job: POST /v1/jobs.",
)
RATE_LIMITED = _kind(
    "rate-limited",
    429,
    "Too many requests",
    "Try again after the time in Retry-After; RateLimit-Policy says how many are allowed.",
)
HEADERS_TOO_LARGE = _kind(
    "headers-too-large", 431, "The headers are too large", "Send fewer or shorter ones."
)
TOO_MANY_HEADERS = _kind("too-many-headers", 431, "There are too many headers", "Send fewer of them.")
INTERNAL_ERROR = _kind(
    "internal-error",
    500,
    "The server failed",
    "Report it with the request_id; it finds the cause in the server's log.",
)
INFERENCE_FAILED = _kind(
    "inference-failed", 500, "The model failed on this input", "Report it with the request_id and the image."
)
STORE_UNUSABLE = _kind(
    "store-unusable",
    500,
    "The model store cannot be used",
    "All is served as before. The server's log says what is wrong with the store.",
)
RELOAD_UNSUPPORTED = _kind(
    "reload-unsupported",
    501,
    "What runs the models cannot take others while it runs",
    "Restart it, and then the gateway.",
)
NOT_READY = _kind("not-ready", 503, "The server is not ready", "Try again after the time in Retry-After.")
OVERLOADED = _kind("overloaded", 503, "The server is busy", "Try again after the time in Retry-After.")
ATTACK_INTERRUPTED = _kind(
    "attack-interrupted",
    503,
    "What carried out the attack ended before it was done",
    "Try again after the time in Retry-After.",
)
BACKEND_UNAVAILABLE = _kind(
    "backend-unavailable",
    503,
    "What runs the model does not answer",
    "Try again after the time in Retry-After.",
)
DEADLINE_EXCEEDED = _kind(
    "deadline-exceeded",
    504,
    "The time for the request ran out",
    "Try again when there is less load, or send less.",
)

UNKNOWN_JOB = _kind("unknown-job", 404, "There is no such job", "GET /v1/jobs lists the jobs.")
UNKNOWN_RUN = _kind(
    "unknown-run", 404, "The job has no such run", "GET /v1/jobs/{job} lists its runs; the first is run 0."
)
JOB_NOT_FINISHED = _kind(
    "job-not-finished", 409, "The job has not finished", "Follow its events, or ask for ?partial=true."
)
UNKNOWN_DATASET = _kind(
    "unknown-dataset", 422, "There is no such data set", "GET /v1/datasets lists the data sets."
)
UNUSABLE_CAMPAIGN = _kind(
    "unusable-campaign", 422, "The campaign cannot be carried out", "The detail says what to change."
)
BAD_ARCHIVE = _kind(
    "bad-archive", 422, "The file of images cannot be used", "The detail says what is wrong with it."
)
KEY_REUSED = _kind(
    "idempotency-key-reused",
    422,
    "The Idempotency-Key stands for another request",
    "Use a new key for every request, and the same one only to send the same again.",
)
STORAGE_UNAVAILABLE = _kind(
    "storage-unavailable",
    503,
    "Jobs cannot be kept at the moment",
    "Try again after the time in Retry-After; the server's log says what is wrong.",
)
STORAGE_FULL = _kind("storage-full", 507, "There is no room left for jobs", "Delete jobs that are finished.")
JOBS_QUOTA = _kind(
    "jobs-quota",
    507,
    "All jobs together would hold too much",
    "Delete jobs that are finished, or send fewer images.",
)

#: What a job may be refused with.
OF_SUBMISSIONS = (
    MALFORMED_BODY,
    UNKNOWN_MODEL,
    UNKNOWN_VERSION,
    BODY_TIMEOUT,
    TOO_MANY_BYTES,
    TOO_MANY_PIXELS,
    TOO_MANY_IMAGES,
    UNSUPPORTED_MEDIA_TYPE,
    UNSUPPORTED_ENCODING,
    UNSUPPORTED_IMAGE,
    INVALID_REQUEST,
    NO_IMAGES,
    EMPTY_IMAGE,
    NOT_AN_IMAGE,
    TRUNCATED_IMAGE,
    DAMAGED_IMAGE,
    BAD_ARCHIVE,
    UNKNOWN_DATASET,
    UNUSABLE_CAMPAIGN,
    KEY_REUSED,
    INTERNAL_ERROR,
    NOT_READY,
    OVERLOADED,
    STORAGE_UNAVAILABLE,
    STORAGE_FULL,
    JOBS_QUOTA,
)

#: What can be wrong with a request that has an image in it and wants a model for it.
OF_IMAGES_FOR_A_MODEL: tuple[Kind, ...] = (
    MALFORMED_BODY,
    JSON_TOO_DEEP,
    UNKNOWN_MODEL,
    UNKNOWN_VERSION,
    BODY_TIMEOUT,
    TOO_MANY_BYTES,
    TOO_MANY_PIXELS,
    TOO_MANY_IMAGES,
    UNSUPPORTED_MEDIA_TYPE,
    UNSUPPORTED_ENCODING,
    UNSUPPORTED_IMAGE,
    INVALID_REQUEST,
    NO_IMAGES,
    EMPTY_IMAGE,
    NOT_AN_IMAGE,
    TRUNCATED_IMAGE,
    DAMAGED_IMAGE,
    BAD_BASE64,
    DEFENCE_NOT_OFFERED,
    INTERNAL_ERROR,
    INFERENCE_FAILED,
    NOT_READY,
    OVERLOADED,
    BACKEND_UNAVAILABLE,
    DEADLINE_EXCEEDED,
)

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


def invalid_request(errors: Sequence[Mapping[str, Any]]) -> Problem:
    """The problem of a request that pydantic refused."""
    listed = [{"where": _place(error["loc"]), "message": _sentence(error)} for error in errors]
    first = listed[0]
    more = f" There are {len(listed) - 1} more such errors." if len(listed) > 1 else ""
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
