"""One attack as server-sent events: how long it waits, how far it is, and in the end its answer or a problem.

The stream begins with the first thing that there is to tell of an attack that was taken on. What is wrong
before that is answered as for everybody else, with its own status.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from starlette.types import Receive, Scope, Send

from serving.gateway.access_log import CLIENT_GONE, note_status
from serving.gateway.attack.schemas import AttackProgress, AttackWaiting
from serving.gateway.body import ClientGoneError
from serving.gateway.disconnect import CancelOnDisconnect
from serving.gateway.event_streams import MEDIA_TYPE
from serving.gateway.problem_kinds import INTERNAL_ERROR
from serving.gateway.problems import Problem

logger = logging.getLogger(__name__)

#: Seconds from one report of an attack to the next at least.
EVERY = 0.1
#: Seconds without an event after which a comment tells whatever is in between that the stream is alive.
HEARTBEAT = 15.0

_HEADERS = {
    "Cache-Control": "no-store",
    "Vary": "Accept",
    "X-Accel-Buffering": "no",  # nginx and its kin hand on at once what they would gather
}
_COMMENT = b": still at it\n\n"


class Feed:
    """What is to be told of an attack: the newest of each, however slowly it is read."""

    def __init__(self) -> None:
        self._news = asyncio.Event()
        self._waiting: AttackWaiting | None = None
        self._progress: AttackProgress | None = None

    def waits(self, before: int) -> None:
        """See :meth:`serving.attacking.base.Watcher.waits`."""
        self._waiting = AttackWaiting(waiting=before)
        self._news.set()

    def advances(self, done: int, total: int, seconds: float) -> None:
        """See :meth:`serving.attacking.base.Watcher.advances`."""
        self._progress = AttackProgress(done=done, total=total, seconds=round(seconds, 3))
        self._news.set()

    def end(self) -> None:
        """There is nothing more to tell."""
        self._news.set()

    async def news(self) -> None:
        """Wait until there is something to tell, or nothing any more."""
        await self._news.wait()

    def take(self) -> list[bytes]:
        """What is new, as events."""
        self._news.clear()
        waiting, self._waiting = self._waiting, None
        progress, self._progress = self._progress, None
        told = (("waiting", waiting), ("progress", progress))
        return [_event(kind, each.model_dump_json()) for kind, each in told if each is not None]


async def stream(
    request: Request, carry_out: Callable[[Feed], Coroutine[Any, Any, str]], release: Callable[[], None]
) -> Response:
    """Begin an attack, and answer with its events once there is one.

    Args:
        request: The request, its body read.
        carry_out: Carries the attack out, tells the feed of it, and returns the answer's JSON.
        release: Called when the attack is over, however it ends.

    Raises:
        Exception: Whatever ``carry_out`` raised before there was anything to tell.
    """
    feed = Feed()
    work = asyncio.create_task(carry_out(feed))

    def end(_: asyncio.Task[str]) -> None:
        release()
        feed.end()

    work.add_done_callback(end)
    try:
        await feed.news()
        if work.done():
            work.result()
    except BaseException:
        await _stop(work)
        raise
    return _Events(request, feed, work)


class _Events(Response):
    """The answer, which ends its attack with itself."""

    media_type = MEDIA_TYPE
    charset = "utf-8"

    def __init__(self, request: Request, feed: Feed, work: asyncio.Task[str]) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._request = request
        self._feed = feed
        self._work = work

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        try:
            async with CancelOnDisconnect(receive):
                async for content in self._content():
                    await send({"type": "http.response.body", "body": content, "more_body": True})
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except ClientGoneError:
            note_status(scope, CLIENT_GONE)
        finally:
            await _stop(self._work)

    async def _content(self) -> AsyncIterator[bytes]:
        while not self._work.done():
            for event in self._feed.take():
                yield event
            await asyncio.wait({self._work}, timeout=EVERY)
            try:
                await asyncio.wait_for(self._feed.news(), HEARTBEAT)
            except TimeoutError:
                yield _COMMENT
        for event in self._feed.take():
            yield event
        yield self._end()

    def _end(self) -> bytes:
        """The answer, or the problem that the caller of an ordinary answer would have had."""
        error = self._work.exception()
        if error is None:
            return _event("result", self._work.result())
        problem = Problem.of(error) if isinstance(error, Exception) else None
        if problem is None:
            logger.error("An attack failed unforeseen", exc_info=error)
            problem = Problem(INTERNAL_ERROR, INTERNAL_ERROR.advice)
        note_status(self._request.scope, problem.kind.status)
        return _event("problem", bytes(problem.response(self._request).body).decode())


async def _stop(work: asyncio.Task[Any]) -> None:
    """Nobody wants it any more; what carries attacks out frees its place when the work has stopped."""
    work.cancel()
    await asyncio.wait({work})
    if not work.cancelled():
        work.exception()


def _event(kind: str, data: str) -> bytes:
    return f"event: {kind}\ndata: {data}\n\n".encode()
