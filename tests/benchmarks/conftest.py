"""The benchmarks are scripts beside one another, not a package: their directory goes where Python looks."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))


class Listening(ThreadingHTTPServer):
    """A server for clients that may hang up on it."""

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is none of the server's errors."""


@contextmanager
def _listen(handler: type[BaseHTTPRequestHandler]) -> Iterator[Listening]:
    with Listening(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def listen() -> Iterator[Callable[[type[BaseHTTPRequestHandler]], Listening]]:
    """Start a server of a kind; it ends with the test."""
    with ExitStack() as stack:
        yield lambda handler: stack.enter_context(_listen(handler))
