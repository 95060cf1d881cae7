"""From an answer to a result, or to an error that says what was wrong."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from holdfast_client._call import Call, Reply
from holdfast_client._errors import Problem, ProblemError, UnexpectedAnswerError, error_of
from holdfast_client._reading import UnreadableError

T = TypeVar("T")

#: Bytes of an answer that an error keeps.
_KEPT = 1 << 16


def understand(call: Call[T], reply: Reply) -> T:
    """What an answer says.

    Raises:
        ProblemError: That the server refused.
        UnexpectedAnswerError: Something else.
    """
    if 200 <= reply.status < 300:
        try:
            return call.read(reply)
        except (ValueError, RecursionError) as error:
            reason = str(error) if isinstance(error, UnreadableError) else "it is not JSON"
            raise _unexpected(
                f"The answer to {call.method} {call.path} cannot be used: {reason}.", reply
            ) from None
    raise refusal(call, reply)


def refusal(call: Call[Any], reply: Reply) -> ProblemError | UnexpectedAnswerError:
    """What an answer of a status from 300 on is raised as."""
    if reply.status < 400:
        return _unexpected(
            f"{call.method} {call.path} was answered with {reply.status}, which leads elsewhere.",
            reply,
            "Give the server's own address: a key is not sent on to another.",
        )
    problem = _problem(reply)
    error = error_of(problem)
    error.body = reply.content[:_KEPT]
    error.retry_after = retry_after(reply)
    error.attempts = reply.attempts
    error.request_id = _request_id(reply)
    return error


def retry_after(reply: Reply) -> float | None:
    """Seconds after which to come back, if the answer says so."""
    given = reply.headers.get("retry-after", "").strip()
    if not given:
        return None
    try:
        return max(0.0, float(given))
    except ValueError:
        pass
    from datetime import datetime, timezone
    from email.utils import parsedate_to_datetime  # slow to import, and rarely needed

    try:
        return max(0.0, (parsedate_to_datetime(given) - datetime.now(timezone.utc)).total_seconds())
    except (TypeError, ValueError):
        return None


def _problem(reply: Reply) -> Problem:
    """The problem document of a refusal, or one that stands for it where something else answered."""
    try:
        document = json.loads(reply.content)
    except ValueError:
        document = None
    if not isinstance(document, dict) or not isinstance(document.get("title"), str):
        text = reply.content[:200].decode("utf-8", "replace").strip()
        words = f"The server answered {reply.status} and no reason that can be read"
        return Problem("", "No problem document", reply.status, f"{words}: {text}" if text else f"{words}.")
    known = ("type", "title", "status", "detail", "instance")
    return Problem(
        str(document.get("type", "")),
        document["title"],
        reply.status,
        str(document.get("detail", "")),
        str(document.get("instance", "")),
        {name: value for name, value in document.items() if name not in known},
    )


def _unexpected(message: str, reply: Reply, hint: str = "") -> UnexpectedAnswerError:
    error = UnexpectedAnswerError(message, hint)
    error.status = reply.status
    error.attempts = reply.attempts
    error.body = reply.content[:_KEPT]
    error.request_id = _request_id(reply)
    return error


def _request_id(reply: Reply) -> str:
    return reply.headers.get("x-request-id", "")
