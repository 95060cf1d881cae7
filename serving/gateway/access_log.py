"""One log record for every request."""

from __future__ import annotations

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger("holdfast.access")

#: Asked for every few seconds by whatever watches the server; logged at debug level.
_HEALTH = frozenset({"/livez", "/readyz"})

#: Not a status of HTTP: what is logged where the caller went away before there was an answer.
CLIENT_GONE = 499


_STATE = "ended_with"


def note_status(scope: Scope, status: int) -> None:
    """Say how a request ended whose answer had begun before that was known."""
    scope["state"][_STATE] = status


def status_of(scope: Scope, sent: int) -> int:
    """How a request ended: as was noted, or else with the status that was sent."""
    status: int = scope["state"].get(_STATE, sent)
    return status


class AccessLogMiddleware:
    """Logs method, path, status and duration of every request when its answer has been sent."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and log what became of it."""
        level = logging.DEBUG if scope.get("path") in _HEALTH else logging.INFO
        if scope["type"] != "http" or not logger.isEnabledFor(level):
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = CLIENT_GONE

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        finally:
            status = status_of(scope, status)
            milliseconds = (time.perf_counter() - started) * 1000
            fields = {
                "method": scope["method"],
                "path": scope["path"],
                "status": status,
                "duration_ms": round(milliseconds, 2),
            }
            message = ("%s %s %d %.1f ms", *fields.values())
            client, key = scope.get("client"), scope["state"].get("key_id")
            if client:
                fields["client"] = client[0]
            if key:
                fields["key"] = key  # its id, which is no secret
            logger.log(level, *message, extra={"fields": fields})
