"""A real gateway in a process of its own, for tests that talk to it over a socket."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import httpx

#: Seconds to wait for a gateway to be ready, or to be gone.
PATIENCE = 90.0


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class GatewayProcess:
    """``holdfast serve``, which can be stopped, and started again at the same address.

    Args:
        store: The model store that it serves.
        settings: More environment variables, e.g. ``HOLDFAST_BACKEND="torchserve"``.
    """

    def __init__(self, store: Path, **settings: str) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "HOLDFAST_PORT": str(port),
            "HOLDFAST_MODEL_STORE": str(store),
            **settings,
        }
        # A file and not a pipe: nobody reads while the gateway logs, and a full pipe would stop it.
        self._output: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "holdfast", "serve"],
            env=self._environment,
            stdout=self._output,
            stderr=self._output,
        )
        _wait_until_ready(self.url, self._process, self._output)

    def stop(self) -> None:
        """Stop it, if it runs, and wait until it is gone."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def close(self) -> None:
        """Stop it for good."""
        self.stop()
        self._output.close()


@contextmanager
def gateway_process(store: Path, **settings: str) -> Iterator[GatewayProcess]:
    """Start a :class:`GatewayProcess`, and stop it in the end."""
    process = GatewayProcess(store, **settings)
    try:
        process.start()
        yield process
    finally:
        process.close()


@contextmanager
def running_gateway(store: Path, **settings: str) -> Iterator[str]:
    """The same, for those who need nothing but its URL."""
    with gateway_process(store, **settings) as process:
        yield process.url


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], output: IO[str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            output.seek(0)
            raise AssertionError(f"the gateway ended with {process.returncode}: {output.read()}")
        try:
            if httpx.get(f"{url}/readyz", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"the gateway was not ready within {PATIENCE:.0f} s")
