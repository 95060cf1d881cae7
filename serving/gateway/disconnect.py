"""Noticing that a caller has gone, so that nothing more is done for it."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from starlette.types import Receive

from serving.gateway.body import ClientGoneError

#: Seconds that an answer may take before anybody looks whether it is still wanted. Most are there by then,
#: and to watch costs as much as to decode a small image.
_GRACE = 0.02


class CancelOnDisconnect:
    """Cancels what runs in this context when the caller goes away.

    To be entered when the request's body has been read to its end: whatever comes then is the disconnect.

    Args:
        receive: The request's ASGI receive channel.

    Raises:
        ClientGoneError: On leaving the context, in place of the cancellation.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._gone = False
        self._watch: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Begin to watch, in a moment."""
        self._task = asyncio.current_task()
        self._timer = asyncio.get_running_loop().call_later(_GRACE, self._begin)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop watching. There is no await here, so the watch cannot cancel what comes after."""
        self._timer.cancel()
        if self._watch is not None:
            self._watch.cancel()
        if self._gone and kind is asyncio.CancelledError and self._task and self._task.uncancel() == 0:
            raise ClientGoneError from None

    def _begin(self) -> None:
        self._watch = asyncio.create_task(self._wait())

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        if self._task is not None:
            self._task.cancel()
