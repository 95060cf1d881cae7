"""Both clients of the SDK behind one face, so that a test is written once."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal

import anyio

from holdfast_client import AsyncHoldfast, Holdfast

Kind = Literal["sync", "async"]


class Twin:
    """A client, whichever it is.

    Args:
        client: It.
    """

    def __init__(self, client: Holdfast | AsyncHoldfast) -> None:
        self.client = client

    async def do(self, work: Callable[[Any], Any]) -> Any:
        """What comes of a call, e.g. ``lambda client: client.classify(image)``."""
        if isinstance(self.client, Holdfast):
            return await anyio.to_thread.run_sync(lambda: work(self.client))
        result = work(self.client)
        return await result if inspect.isawaitable(result) else result

    async def collect(self, work: Callable[[Any], Any]) -> list[Any]:
        """All that an iterator gives."""
        if isinstance(self.client, Holdfast):
            return await anyio.to_thread.run_sync(lambda: list(work(self.client)))
        return [each async for each in work(self.client)]


@asynccontextmanager
async def twin(kind: Kind, *arguments: Any, **options: Any) -> AsyncIterator[Twin]:
    """A client of that kind, closed in the end."""
    if kind == "sync":
        with Holdfast(*arguments, **options) as client:
            yield Twin(client)
    else:
        async with AsyncHoldfast(*arguments, **options) as other:
            yield Twin(other)
