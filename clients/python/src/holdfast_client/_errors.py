"""Everything that can go wrong, as a tree:

* ``HoldfastError``
    * ``ConfigurationError``: an address, a key or an option that cannot be (also a ``ValueError``)
    * ``ImageInputError``: what was given is no image that can be sent (also a ``ValueError``)
    * ``MissingDependencyError``: a library that is only needed for this (also an ``ImportError``)
    * ``WaitTimeoutError``: a job was not over in the time that it was given
    * ``APIError``: a request was begun
        * ``APIConnectionError``: no answer, or half of one
            * ``APITimeoutError``: not in time
        * ``UnexpectedAnswerError``: an answer that this client does not understand
        * ``ProblemError``: the server refused, and says why; it has a ``status`` and a ``problem``
            * ``BadRequestError`` 400, ``AuthenticationError`` 401, ``PermissionDeniedError`` 403,
              ``NotFoundError`` 404, ``RequestTimeoutError`` 408, ``ConflictError`` 409,
              ``TooLargeError`` 413, ``UnsupportedMediaTypeError`` 415, ``RateLimitedError`` 429
            * ``InvalidRequestError`` 422
                * ``AttackTooCostlyError``: it is one for a job
            * ``ServerError`` 5xx
                * ``UnavailableError`` 503, ``DeadlineExceededError`` 504, ``StorageFullError`` 507
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


class HoldfastError(Exception):
    """Something that a caller of this library may want to catch.

    Args:
        message: What was wrong.
        hint: What to do about it.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        """The message, and the hint if there is one."""
        return f"{self.message} {self.hint}".strip()


class ConfigurationError(HoldfastError, ValueError):
    """An address, a key or an option that cannot be."""


class ImageInputError(HoldfastError, ValueError):
    """What was given is no image that can be sent."""


class MissingDependencyError(HoldfastError, ImportError):
    """A library is not installed that only this needs."""


class WaitTimeoutError(HoldfastError, TimeoutError):
    """A job was not over in the time that it was given; it goes on."""


class APIError(HoldfastError):
    """A request was begun and did not end well.

    Attributes:
        request_id: The id in ``X-Request-Id``, by which the server's log finds the request.
        attempts: How often it was sent.
    """

    request_id: str = ""
    attempts: int = 1

    def __reduce__(self) -> tuple[Any, ...]:
        """Exceptions travel between processes, with all that they know."""
        return _restore, (type(self), self.args, self.__dict__.copy())


class APIConnectionError(APIError):
    """The server could not be reached, or the connection ended before the answer did."""


class APITimeoutError(APIConnectionError, TimeoutError):
    """The answer was not there in time."""


class UnexpectedAnswerError(APIError):
    """An answer that this client does not understand.

    Attributes:
        status: The HTTP status.
        body: The answer's first 64 KiB.
    """

    status: int = 0
    body: bytes = b""


@dataclass(frozen=True)
class Problem:
    """What a server says of a request that it refused, by RFC 9457.

    Attributes:
        type: The kind of problem, ``/problems#<kind>``: a person can read about it at that address.
        title: The kind of problem, in words.
        status: The HTTP status.
        detail: What was wrong with this request.
        instance: The path that was asked for.
        members: All other members of the document, such as ``offered``, ``limit``, ``errors``.
    """

    type: str
    title: str
    status: int
    detail: str
    instance: str = ""
    members: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """The last part of the type, e.g. ``unknown-model``."""
        return self.type.rpartition("#")[2]


class ProblemError(APIError):
    """The server refused the request.

    Attributes:
        problem: What it says of it.
        body: The answer as it came.
        retry_after: Seconds after which to come back, if it said so.
    """

    body: bytes = b""
    retry_after: float | None = None

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail or problem.title)
        self.args = (problem,)
        self.problem = problem

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.problem.status

    @property
    def kind(self) -> str:
        """The kind of problem, e.g. ``unknown-model``."""
        return self.problem.kind

    def __str__(self) -> str:
        """What was wrong, with the status and the id that finds it in the server's log."""
        found = f" (request {self.request_id})" if self.request_id else ""
        return f"{self.status} {self.kind or 'error'}: {super().__str__()}{found}"


class BadRequestError(ProblemError):
    """400: the request cannot be read."""


class AuthenticationError(ProblemError):
    """401: this needs a valid key."""


class PermissionDeniedError(ProblemError):
    """403: the key is not for this."""


class NotFoundError(ProblemError):
    """404: there is no such model, version, attack or job."""


class RequestTimeoutError(ProblemError):
    """408: the request took too long to arrive."""


class ConflictError(ProblemError):
    """409: not as things are, e.g. the result of a job that still runs."""


class TooLargeError(ProblemError):
    """413: too many bytes, pixels or images; ``limit`` says how many may be."""

    @property
    def limit(self) -> float | None:
        """What was exceeded, where it is one number."""
        return self.problem.members.get("limit")


class UnsupportedMediaTypeError(ProblemError):
    """415: this is not PNG, JPEG or WebP."""


class InvalidRequestError(ProblemError):
    """422: something in it cannot be used; ``offered`` says what there is, ``errors`` what is wrong where."""

    @property
    def offered(self) -> list[str]:
        """What is offered in place of what was asked."""
        return list(self.problem.members.get("offered") or ())

    @property
    def errors(self) -> list[Mapping[str, Any]]:
        """Every value that does not follow the schema: ``where`` and ``message``."""
        return list(self.problem.members.get("errors") or ())


class AttackTooCostlyError(InvalidRequestError):
    """The attack would cost more than one request may; it is one for a job."""

    @property
    def cost(self) -> Mapping[str, float]:
        """What it would cost."""
        return self.problem.members.get("cost") or {}

    @property
    def limit(self) -> float | None:
        """The seconds that an attack may cost."""
        return self.problem.members.get("limit")


class RateLimitedError(ProblemError):
    """429: too many requests; come back after ``retry_after`` seconds."""


class ServerError(ProblemError):
    """5xx: the server failed."""


class UnavailableError(ServerError):
    """503: the server is busy, or not ready; come back after ``retry_after`` seconds."""


class DeadlineExceededError(ServerError):
    """504: the server's time for the request ran out."""


class StorageFullError(ServerError):
    """507: there is no room left for jobs."""


_BY_STATUS: Mapping[int, type[ProblemError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    408: RequestTimeoutError,
    409: ConflictError,
    413: TooLargeError,
    415: UnsupportedMediaTypeError,
    422: InvalidRequestError,
    429: RateLimitedError,
    503: UnavailableError,
    504: DeadlineExceededError,
    507: StorageFullError,
}


def error_of(problem: Problem) -> ProblemError:
    """The exception that a problem is raised as."""
    if problem.kind == "attack-too-costly":
        return AttackTooCostlyError(problem)
    return _BY_STATUS.get(problem.status, ServerError if problem.status >= 500 else ProblemError)(problem)


def _restore(kind: type[APIError], arguments: tuple[Any, ...], state: dict[str, Any]) -> APIError:
    error = kind(*arguments)
    error.__dict__.update(state)
    return error
