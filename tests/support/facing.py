"""A client before a server that fails as it is told to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from support.faulty_server import Behaviour, FaultyServer, faulty_server
from support.twins import Kind, Twin, twin

JOB = {
    "id": "j1",
    "name": "",
    "state": "queued",
    "created": "2026-11-21T12:00:00Z",
    "images": 1,
    "progress": {"done": 0, "total": 1, "share": 0.0, "eta_seconds": None},
    "labels": "model",
    "runs": [],
}


@asynccontextmanager
async def facing(
    kind: Kind, *behaviours: Behaviour, pause: float = 0.0, **options: Any
) -> AsyncIterator[tuple[Twin, FaultyServer]]:
    """A client and the server that it has."""
    with faulty_server(*behaviours, pause=pause) as server:
        async with twin(kind, server.url, model="tiny", **{"timeout": 10.0, **options}) as client:
            yield client, server
