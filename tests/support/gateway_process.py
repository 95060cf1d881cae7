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


@contextmanager
def running_gateway(store: Path, **settings: str) -> Iterator[str]:
    """Start ``holdfast serve`` on ``store``, wait until it is ready, and stop it in the end.

    Args:
        store: The model store that it serves.
        settings: More environment variables, e.g. ``HOLDFAST_BACKEND="torchserve"``.

    Returns:
        Its URL.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "HOLDFAST_PORT": str(port),
        "HOLDFAST_MODEL_STORE": str(store),
        **settings,
    }
    # A file and not a pipe: nobody reads while the gateway logs, and a full pipe would stop it.
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "holdfast", "serve"], env=environment, stdout=output, stderr=output
        )
        try:
            _wait_until_ready(url, process, output)
            yield url
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


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
