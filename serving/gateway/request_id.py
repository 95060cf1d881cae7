"""Every request has an id: the caller's own where it is well formed, else a new one."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextvars import ContextVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = b"x-request-id"

#: What an id may be: nothing that could end a line of a log, a header or a quoted string.
_WELL_FORMED = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")

#: The id of the request that is being answered, for log records.
current_request_id: ContextVar[str] = ContextVar("current_request_id", default="")


#: What the caller's own tracing says of the request, by W3C Trace Context, to be handed on as it is.
_current_trace: ContextVar[Mapping[str, str]] = ContextVar("current_trace")

_TRACE_HEADERS = {
    "traceparent": re.compile(rb"(?!ff)[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}"),
    "tracestate": re.compile(rb"[\x20-\x7e]{1,512}"),
}


def forwarded_headers() -> dict[str, str]:
    """What of the request that is being answered whoever helps to answer it is to know: its id and trace."""
    request_id = current_request_id.get()
    return {**({"X-Request-Id": request_id} if request_id else {}), **_current_trace.get({})}


class RequestIdMiddleware:
    """Gives a request its id, and puts it on the answer whatever the answer is."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, with its id in the scope's state."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _given(scope) or os.urandom(16).hex().encode()
        text = request_id.decode()
        scope.setdefault("state", {})["request_id"] = text
        current_request_id.set(text)
        _current_trace.set(_trace(scope))

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (HEADER, request_id)]
            await send(message)

        await self._app(scope, receive, send_with_id)


def request_id_of(scope: Scope) -> str:
    """The id of a request, from its scope."""
    request_id: str = scope["state"]["request_id"]
    return request_id


def _trace(scope: Scope) -> dict[str, str]:
    """The caller's trace headers, where they are well formed; a state without a parent is nobody's."""
    given = dict(scope["headers"])
    found = {
        name: value.decode()
        for name, pattern in _TRACE_HEADERS.items()
        if (value := given.get(name.encode())) is not None and pattern.fullmatch(value)
    }
    return found if "traceparent" in found else {}


def _given(scope: Scope) -> bytes | None:
    """The id that the caller sent, if it sent exactly one and it is well formed."""
    given = [value for name, value in scope["headers"] if name == HEADER]
    return given[0] if len(given) == 1 and _WELL_FORMED.fullmatch(given[0]) else None
