"""Reading an attack's server-sent events as they come, from a gateway in this process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from support.gated import SECONDS, eventually
from support.gateway import Gateway, Message

ATTACK = "/v1/models/tiny/attack"


@dataclass
class Watched:
    """A request for an attack that is being answered.

    Attributes:
        status: Of the answer; 0 before it has begun.
        headers: Its headers.
        body: What has come of it.
        times: When each part of it came, on the event loop's clock.
        over: Whether the gateway is done with the request.
    """

    hang_up: Callable[[], None]
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    times: list[float] = field(default_factory=list)
    over: bool = False

    @property
    def events(self) -> list[tuple[str, dict[str, Any]]]:
        """The whole events so far: the kind of each and its data."""
        found = []
        for block in self.body.decode().split("\n\n")[:-1]:
            if not block.startswith(":"):
                kind, data = block.split("\n")
                found.append((kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
        return found

    @property
    def kinds(self) -> list[str]:
        """The kinds of the events so far."""
        return [kind for kind, _ in self.events]

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The data of the events of one kind."""
        return [data for each, data in self.events if each == kind]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something is so."""
        await eventually(condition)

    async def ended(self) -> None:
        """Wait until the gateway is done with the request."""
        await eventually(lambda: self.over)


@asynccontextmanager
async def watching(tiny: Gateway, image: bytes, **query: Any) -> AsyncIterator[Watched]:
    """Ask for an attack on an image and its events; whoever leaves has hung up."""
    gone = asyncio.Event()
    watched = Watched(gone.set)
    sent = iter([{"type": "http.request", "body": image, "more_body": False}])

    async def receive() -> Message:
        message = next(sent, None)
        if message is None:
            await gone.wait()
            return {"type": "http.disconnect"}
        return message

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            watched.status = message["status"]
            watched.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        elif message["body"]:
            watched.body += message["body"]
            watched.times.append(asyncio.get_running_loop().time())

    async def ask() -> None:
        try:
            await tiny.call(
                receive,
                send=send,
                path=ATTACK,
                raw_path=ATTACK.encode(),
                query_string=urlencode(query).encode(),
                headers=[(b"content-type", b"image/png"), (b"accept", b"text/event-stream")],
            )
        finally:
            watched.over = True

    asking = asyncio.create_task(ask())
    try:
        yield watched
    finally:
        gone.set()
        async with asyncio.timeout(SECONDS):
            await asking
