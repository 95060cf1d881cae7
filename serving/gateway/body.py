"""Reading a request's body: never more than allowed, never longer than allowed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from starlette.requests import Request

from serving.gateway.admission import Holding
from serving.gateway.inflate import ENCODINGS, Inflater
from serving.gateway.problem_kinds import (
    BODY_TIMEOUT,
    TOO_MANY_BYTES,
    UNSUPPORTED_ENCODING,
    UNSUPPORTED_MEDIA_TYPE,
)
from serving.gateway.problems import Problem

#: In a request's state: its body came too slowly, and will not be waited for; see serving.protocol.
TOO_SLOW = "too_slow"


class ClientGoneError(Exception):
    """The caller went away: there is nobody to answer."""


class Body:
    """The body of one request, to be read once; one that is packed by gzip or deflate is unpacked.

    Args:
        request: The request.
        limit: The most bytes it may have, as it comes and unpacked.
        holding: What the request holds; every byte is counted there as it arrives.

    Raises:
        Problem: Its headers say already that it will not be accepted.
    """

    def __init__(self, request: Request, *, limit: int, holding: Holding) -> None:
        self._receive = request.receive
        self._state = request.scope["state"]
        self._limit = limit
        self._holding = holding
        self._received = self._size = 0
        self._more = True
        self._inflater = _inflater_of(request)
        announced = request.headers.get("content-length", "")
        if announced.isascii() and announced.isdigit() and int(announced) > limit:
            raise self._too_large()

    async def read(self) -> bytes:
        """All of it; raises as :meth:`stream` does."""
        first, more = await self._next()
        if not more:
            return first
        return b"".join([first, *[chunk async for chunk in self.stream()]])

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """Its chunks, as they arrive.

        Raises:
            Problem: It is too large.
            ClientGoneError: The caller went away before the end of it.
        """
        more = True
        while more:
            chunk, more = await self._next()
            if chunk:
                yield chunk

    async def _next(self) -> tuple[bytes, bool]:
        """The next chunk, and whether there is more."""
        if self._inflater is None:
            chunk, more = await self._next_received()
        else:
            chunk, more = await self._next_unpacked(self._inflater)
        self._size += len(chunk)
        if self._size > self._limit:
            raise self._too_large()
        self._holding.add(len(chunk))
        return chunk, more

    async def _next_received(self) -> tuple[bytes, bool]:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        chunk: bytes = message.get("body", b"")
        more: bool = message.get("more_body", False)
        self._received += len(chunk)
        if self._received > self._limit:
            raise self._too_large()
        if more and not chunk and self._state.get(TOO_SLOW):
            raise body_too_slow()
        return chunk, more

    async def _next_unpacked(self, inflater: Inflater) -> tuple[bytes, bool]:
        while not (piece := inflater.take()):
            if not self._more:
                inflater.finish()
                return b"", False
            packed, self._more = await self._next_received()
            inflater.feed(packed)
        # Others have their turn between two pieces of a large body.
        await asyncio.sleep(0)
        return piece, True

    def _too_large(self) -> Problem:
        return Problem(
            TOO_MANY_BYTES,
            f"The body has more than the {self._limit} bytes that are accepted.",
            members={"limit": self._limit},
        )


def body_too_slow() -> Problem:
    """The problem of a body that came too slowly."""
    return Problem(BODY_TIMEOUT, f"The body came too slowly. {BODY_TIMEOUT.advice}", {"Connection": "close"})


def _inflater_of(request: Request) -> Inflater | None:
    """What unpacks a request's body; ``None`` where it is not packed.

    Raises:
        Problem: It is packed in another way, or in several.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("identity", ""):
        return None
    if Inflater.knows(encoding):
        return Inflater(encoding)
    raise Problem(
        UNSUPPORTED_ENCODING,
        f"The body has Content-Encoding {encoding[:40]}; it may be gzip or deflate, or none.",
        {"Accept-Encoding": ", ".join(ENCODINGS)},
    )


def media_type_of(request: Request, accepted: tuple[str, ...]) -> str:
    """The media type of the body, in lower case and without its parameters.

    Raises:
        Problem: It is none of those accepted.
    """
    given = request.headers.get("content-type", "")
    media_type = given.partition(";")[0].strip().lower()
    if media_type in accepted:
        return media_type
    listed = ", ".join(accepted)
    if not media_type:
        detail = f"The request has no Content-Type. It is to be one of {listed}."
    else:
        detail = f"The Content-Type is {media_type[:80]}. It is to be one of {listed}."
    if media_type == "application/x-www-form-urlencoded":
        detail += (
            " (curl --data-binary sends this one unless told otherwise: add -H 'Content-Type: image/png'.)"
        )
    raise Problem(UNSUPPORTED_MEDIA_TYPE, detail, {"Accept": listed})
