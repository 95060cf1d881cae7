"""The HTTP server around the gateway: when it says that it is ready, and how it stops."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI

from serving.gateway.access_log import logger as access_logger
from serving.gateway.lifecycle import Lifecycle
from serving.gateway.metrics import Metrics
from serving.gateway.problems import Problem
from serving.protocol import Limits, make_protocol
from serving.settings import Settings
from serving.tls import check_certificate

#: Objects made before the collector looks for cycles again. A request makes some hundred, and none are left
#: over; Python's default of 700 would have it look with every few of them.
_GC_THRESHOLD = 20_000

#: How long the event loop may keep the interpreter while a worker waits for it to start its next batch. With
#: Python's default of 5 ms, the model stood still for a tenth of the time under 16 callers.
_SWITCH_SECONDS = 0.0005

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

#: Longer than the minute for which a proxy in front keeps its connections, so that it is never the server
#: that closes one just as a request comes over it.
_KEEP_ALIVE_SECONDS = 65


class _Config(uvicorn.Config):
    """uvicorn's, but for the oldest TLS that is spoken, which it leaves to how Python was built."""

    def load(self) -> None:
        """See :meth:`uvicorn.Config.load`."""
        super().load()
        if self.ssl is not None:
            self.ssl.minimum_version = ssl.TLSVersion.TLSv1_2


class GatewayServer(uvicorn.Server):
    """Serves a gateway until it is told to stop, and drains it then.

    At the first SIGTERM or SIGINT the gateway stops being ready. After ``drain_delay``, in which whatever
    balances load can notice, it stops listening; requests in flight have ``drain_timeout`` to finish. A
    second signal ends that wait. At SIGHUP it looks at the model store again.

    Args:
        app: The gateway.
        settings: How it is set up.
        on_ready: Called once the models are served.
    """

    def __init__(self, app: FastAPI, settings: Settings, on_ready: Callable[[], None]) -> None:
        self._lifecycle: Lifecycle = app.state.services.lifecycle
        self._metrics: Metrics = app.state.services.metrics
        super().__init__(
            _Config(
                app,
                http=make_protocol(_limits_of(settings), self._note_refusal),
                ws="none",
                lifespan="on",
                access_log=False,
                log_config=None,
                server_header=False,
                date_header=True,
                proxy_headers=bool(settings.trusted_proxies),
                forwarded_allow_ips=list(settings.trusted_proxies),
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=settings.drain_timeout,
                **_tls_of(settings),
            )
        )
        self._drain_delay = settings.drain_delay
        self._on_ready = on_ready
        self._announcement: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen; say so when the models are loaded, and stop if they cannot be."""
        await super().startup(sockets=sockets)
        self._announcement = asyncio.create_task(self._announce())

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Stop on a signal, and end as a process that was asked to stop and did: with status 0."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._lifecycle.reload_soon)
        try:
            yield
        finally:
            for number in (*_SIGNALS, signal.SIGHUP):
                loop.remove_signal_handler(number)

    async def _announce(self) -> None:
        await self._lifecycle.settled()
        if self._lifecycle.error is not None:
            self.should_exit = True
        elif self._lifecycle.state == "ready":
            _tune_interpreter()
            self._on_ready()

    def _note_refusal(self, problem: Problem, request_id: str, address: str) -> None:
        """Log and count what was refused before it was a request."""
        kind = problem.kind
        self._metrics.count_refused_connection(kind.name)
        fields = {
            "status": kind.status,
            "problem": kind.name,
            "client": address,
            "request_id": request_id,
        }
        access_logger.info(
            "connection from %s refused: %d %s", address, kind.status, kind.name, extra={"fields": fields}
        )

    def _stop(self) -> None:
        if self._lifecycle.state in ("draining", "stopped"):
            self.should_exit = self.force_exit = True
            return
        self._lifecycle.drain()
        asyncio.get_running_loop().call_later(self._drain_delay, self._stop_listening)

    def _stop_listening(self) -> None:
        self.should_exit = True


def _limits_of(settings: Settings) -> Limits:
    return Limits(
        url_bytes=settings.max_url_bytes,
        header_bytes=settings.max_header_bytes,
        headers=settings.max_headers,
        header_seconds=settings.header_timeout,
        body_seconds=settings.body_timeout,
        body_rate=settings.min_body_rate,
        connections=settings.max_connections,
    )


def _tls_of(settings: Settings) -> dict[str, Any]:
    """uvicorn's options for TLS, none without a certificate.

    Raises:
        UsageError: The certificate cannot be used.
    """
    if settings.tls_certificate is None:
        return {}
    secret = settings.tls_key_password
    password = None if secret is None else secret.get_secret_value()
    check_certificate(settings.tls_certificate, settings.tls_key, password)
    return {
        "ssl_certfile": settings.tls_certificate,
        "ssl_keyfile": settings.tls_key,
        "ssl_keyfile_password": password,
    }


def _tune_interpreter() -> None:
    """Make the interpreter fit for two kinds of threads, one that answers and others that run models."""
    # What is loaded stays: the collector need not look through it again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD)
    sys.setswitchinterval(_SWITCH_SECONDS)
