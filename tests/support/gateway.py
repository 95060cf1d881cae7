"""A gateway in this process, reached over ASGI."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
from fastapi import FastAPI

from serving.backends.base import Backend
from serving.gateway.app import create_app
from serving.gateway.services import Services
from serving.settings import Settings

CLASSIFY = "/v1/models/tiny/classify"
PNG = {"Content-Type": "image/png"}

Message = MutableMapping[str, Any]


@dataclass
class Gateway:
    """A started gateway and a client of it."""

    app: FastAPI
    client: httpx.AsyncClient

    @property
    def services(self) -> Services:
        """What the routes share."""
        services: Services = self.app.state.services
        return services

    async def classify(self, content: bytes, **query: str | int) -> httpx.Response:
        """Send one image as it is."""
        return await self.client.post(CLASSIFY, content=content, headers=PNG, params=query)

    async def call(
        self,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]] | None = None,
        **scope: Any,
    ) -> Answer:
        """Send a request by hand, message by message; what comes back is gathered, or given to ``send``."""
        answer = Answer()

        async def gather(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            answer.body += message.get("body", b"")

        defaults = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": CLASSIFY,
            "raw_path": CLASSIFY.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [(b"content-type", b"image/png")],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
        }
        await self.app({**defaults, **scope}, receive, send or gather)
        return answer


@dataclass
class Answer:
    """What came back for a request sent by hand."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@asynccontextmanager
async def gateway(
    store: Path, *, backend: Backend | None = None, settle: bool = True, **settings: Any
) -> AsyncIterator[Gateway]:
    """Start a gateway over a store.

    Args:
        store: The model store.
        backend: What runs the models, if not what the settings say.
        settle: Wait until the models are loaded, or could not be.
        settings: Further settings. Jobs are kept in a directory of its own, and it runs no workers for them.
    """
    with tempfile.TemporaryDirectory() as own:
        defaults = {"threads": 1, "jobs_workers": 0, "jobs_database": f"sqlite:///{own}/jobs/jobs.sqlite"}
        async with _started(store, backend, settle, {**defaults, **settings}) as started:
            yield started


@asynccontextmanager
async def _started(
    store: Path, backend: Backend | None, settle: bool, settings: dict[str, Any]
) -> AsyncIterator[Gateway]:
    app = create_app(Settings(model_store=store, **settings), backend=backend)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://gateway.localhost") as client,
    ):
        started = Gateway(app, client)
        if settle:
            await started.services.lifecycle.settled()
        yield started


def assert_problem(response: httpx.Response, status: int, kind: str) -> dict[str, Any]:
    """The response is a whole problem document of this kind; return it."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    document: dict[str, Any] = response.json()
    assert (response.status_code, document["type"]) == (status, f"/problems#{kind}"), document
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    assert unquote(document["instance"]) == response.request.url.path
    assert document["request_id"] == response.headers["x-request-id"]
    return document
