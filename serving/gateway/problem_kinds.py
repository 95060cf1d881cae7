"""Every kind of problem that a request can have: its status, what it is, and what to do about it.

A test holds them to be documented, answered, and told apart by name; ``/problems`` shows them to people.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass


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
    "Restart it, and then the gateway. How requests are shared out over the versions was read again.",
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

#: What can be wrong with images that are sent, and with reading them.
_OF_UPLOADS = (
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
    INTERNAL_ERROR,
    NOT_READY,
    OVERLOADED,
    DEADLINE_EXCEEDED,
)

#: What a job may be refused with.
OF_SUBMISSIONS = (
    *_OF_UPLOADS,
    BAD_ARCHIVE,
    UNKNOWN_DATASET,
    UNUSABLE_CAMPAIGN,
    KEY_REUSED,
    STORAGE_UNAVAILABLE,
    STORAGE_FULL,
    JOBS_QUOTA,
)

#: What can be wrong with a request that has an image in it and wants a model for it.
OF_IMAGES_FOR_A_MODEL: tuple[Kind, ...] = (
    *_OF_UPLOADS,
    JSON_TOO_DEEP,
    BAD_BASE64,
    DEFENCE_NOT_OFFERED,
    INFERENCE_FAILED,
    BACKEND_UNAVAILABLE,
)
