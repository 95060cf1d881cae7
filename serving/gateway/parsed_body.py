"""Bodies that FastAPI parses by itself: read first, within the limits of every other body."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Request
from starlette.types import Message

from serving.gateway.body import Body
from serving.gateway.services import services_of
from serving.gateway.uploads import arriving


@asynccontextmanager
async def read_first(request: Request) -> AsyncIterator[Request]:
    """The same request with its body here already; the body is counted as held in this context.

    Raises:
        Problem: It is too large, arrives too slowly, or is packed in a way that is not accepted.
        ClientGoneError: The caller went away before the end of it.
    """
    services = services_of(request)
    settings = services.settings
    with services.admission.enter() as holding:
        async with arriving(time.monotonic() + settings.deadline):
            content = await Body(request, limit=settings.max_body_bytes, holding=holding).read()
        unread = True

        async def receive() -> Message:
            nonlocal unread
            if unread:
                unread = False
                return {"type": "http.request", "body": content, "more_body": False}
            return await request.receive()

        yield Request(request.scope, receive)
