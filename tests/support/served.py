"""A gateway in this process behind a real socket, for what depends on the socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from serving.address import bind
from serving.backends.base import Backend
from serving.gateway.app import create_app
from serving.gateway.services import Services
from serving.server import GatewayServer
from serving.settings import Settings

#: Seconds after which a test has waited long enough for an answer.
PATIENCE = 20.0


@dataclass
class Reply:
    """What came back over a connection."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> dict[str, Any]:
        """The problem document that it is."""
        assert self.headers["content-type"] == "application/problem+json", self
        document: dict[str, Any] = json.loads(self.body)
        assert document["status"] == self.status
        assert document["request_id"] == self.headers["x-request-id"]
        return document

    @property
    def kind(self) -> str:
        """The name of the problem."""
        return str(self.problem["type"]).removeprefix("/problems#")


@dataclass
class Connection:
    """One connection to a gateway."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, content: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(content)
        await self.writer.drain()

    async def reply(self) -> Reply:
        """Read one whole answer."""
        async with asyncio.timeout(PATIENCE):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.split("\r\n")[:-2]
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            body = await self.reader.readexactly(int(headers["content-length"]))
        return Reply(int(first.split(" ")[1]), headers, body)

    async def closed(self) -> bool:
        """Whether the gateway closes it, with nothing more sent."""
        async with asyncio.timeout(PATIENCE):
            try:
                return await self.reader.read(1) == b""
            except ConnectionResetError:
                return True


@dataclass
class Served:
    """A gateway that listens."""

    port: int
    services: Services

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Connection]:
        """Open a connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield Connection(reader, writer)
        finally:
            writer.close()

    async def ask(self, content: bytes) -> Reply:
        """Send bytes over a new connection, and read the answer."""
        async with self.connect() as connection:
            await connection.send(content)
            return await connection.reply()


@asynccontextmanager
async def served(store: Path, *, backend: Backend | None = None, **settings: Any) -> AsyncIterator[Served]:
    """Serve a store on a free port of loopback until the end of the context."""
    configured = Settings(model_store=store, **{"threads": 1, "drain_timeout": 1, **settings})
    app = create_app(configured, backend=backend)
    services: Services = app.state.services
    # The interpreter is the test run's, not the server's.
    with patch("serving.server._tune_interpreter"), bind("127.0.0.1", 0, allow_others=False) as listener:
        server = GatewayServer(app, configured, lambda: None)
        running = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            await services.lifecycle.settled()
            yield Served(listener.getsockname()[1], services)
        finally:
            server.should_exit = True
            await running
