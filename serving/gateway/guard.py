"""The last line: whatever fails unforeseen is logged in full and answered with next to nothing."""

from __future__ import annotations

import asyncio
import logging

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.gateway.problem_kinds import INTERNAL_ERROR, NOT_READY
from serving.gateway.problems import Problem, retry_after

logger = logging.getLogger(__name__)


class GuardMiddleware:
    """Answers an exception that nothing else answered with a problem document that tells nothing internal."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; answer for it if that fails before the answer has begun."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def send_and_note(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        except asyncio.CancelledError:
            # Only a shutdown that waits no longer cancels a request.
            if begun:
                raise
            problem = Problem(NOT_READY, "The server is shutting down.", retry_after(1))
            await problem.response(Request(scope))(scope, receive, send)
        except Exception:
            logger.exception("%s %s failed", scope["method"], scope["path"])
            if begun:
                raise
            problem = Problem(INTERNAL_ERROR, INTERNAL_ERROR.advice)
            await problem.response(Request(scope))(scope, receive, send)
