"""One observation for every request: how long it took, where it went, what it was about and how it ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.gateway.access_log import CLIENT_GONE, status_of
from serving.gateway.metrics import Metrics, Subject

_STATE = "subject"


def note_subject(scope: Scope, model: str, version: str, defence: str = "") -> None:
    """Say what a request is about, once its route knows: a model that is served, and a defence it offers."""
    subject: Subject = scope["state"][_STATE]
    subject.model, subject.version, subject.defence = model, version, defence


class MetricsMiddleware:
    """Observes every request when its answer has been sent.

    Args:
        app: What answers.
        metrics: Where it is observed.
        templates: The addresses of routes, by the function that answers.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, templates: Mapping[Callable[..., Any], str]) -> None:
        self._app = app
        self._metrics = metrics
        self._templates = templates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and observe what became of it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = CLIENT_GONE
        subject = scope["state"][_STATE] = Subject()

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        path = scope["path"]
        self._metrics.begin_request(path)
        started = time.perf_counter()
        try:
            await self._app(scope, receive, send_and_note)
        finally:
            seconds = time.perf_counter() - started
            route = self._templates.get(scope.get("endpoint"), "")  # type: ignore[arg-type]
            ended = status_of(scope, status)
            self._metrics.end_request(path, route, scope["method"], subject, ended, seconds)
