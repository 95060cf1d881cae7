"""Following a job: server-sent events, replayed from the last one that a caller has seen."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

from sse_starlette import EventSourceResponse, ServerSentEvent

from serving.gateway.jobs.service import JobService
from serving.gateway.problem_kinds import INVALID_REQUEST, OVERLOADED
from serving.gateway.problems import Problem, retry_after
from serving.jobs.errors import JobError, UnknownJobError
from serving.jobs.views import Happened

#: Seconds between two looks for something new.
_POLL = 0.5

#: Seconds without an event after which a comment tells whatever is in between that the stream is alive.
_HEARTBEAT = 15

#: Milliseconds after which a caller whose stream ended comes back.
_RETRY = 2000

_LARGEST = 2**31 - 1


def last_event_id(given: str | None) -> int:
    """The number of the last event that a caller has seen; 0 for none.

    Raises:
        Problem: It is no number of an event.
    """
    text = (given or "0").strip()
    if not (text.isascii() and text.isdigit() and int(text) <= _LARGEST):
        raise Problem(INVALID_REQUEST, f"header Last-Event-ID: '{text[:40]}' is no number of an event.")
    return int(text)


async def follow(
    service: JobService, job: str, owner: str | None, after: int, limit: int
) -> EventSourceResponse:
    """The stream of a job's events.

    Args:
        service: Where the events are.
        job: Which.
        owner: Whose it has to be.
        after: The last event that the caller has seen.
        limit: Streams that there may be at once.

    Raises:
        UnknownJobError: There is no such job.
        Problem: As many follow jobs as may.
    """
    await service.events(job, owner, after)
    if service.streams >= limit:
        raise Problem(OVERLOADED, f"{limit} callers follow jobs already, and no more may.", retry_after(5))
    return EventSourceResponse(
        _stream(service, job, owner, after), ping=_HEARTBEAT, headers={"Cache-Control": "no-store"}
    )


async def _stream(
    service: JobService, job: str, owner: str | None, after: int
) -> AsyncIterator[ServerSentEvent]:
    """Events until the job is over, is deleted, or the server shuts down: then the caller comes back."""
    service.streams += 1
    try:
        yield ServerSentEvent(comment="events of this job", retry=_RETRY)
        while not service.draining:
            try:
                happened = await service.events(job, owner, after)
            except UnknownJobError:
                return
            except JobError:  # the database is away; the stream need not end for that
                happened = Happened([], more=False, over=False)
            for event in happened.events:
                after = event.number
                yield ServerSentEvent(event=event.kind, id=str(event.number), data=json.dumps(event.data))
            if happened.over:
                return
            if happened.more:
                continue
            await asyncio.sleep(_POLL)
    finally:
        service.streams -= 1
