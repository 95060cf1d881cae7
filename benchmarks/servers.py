"""The servers that are measured: ``holdfast serve`` and ``holdfast torchserve``, as real processes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from machine import cpu_seconds

from holdfast.errors import HoldfastError

GATEWAY, TORCHSERVE = "gateway", "TorchServe"

_ADDRESS = re.compile(r"http://(127\.0\.0\.1):(\d+)")
_GRACE = 30.0
_SHOWN_LINES = 15

#: Threads of OpenMP and the like, which a shell may have set for something else: what is measured is what
#: the servers choose by themselves. HOLDFAST_… stays, and is reported.
_NOT_PASSED_ON = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class ServerError(HoldfastError):
    """A server that was to be measured did not start."""


class Server:
    """A server's process, from entering, when it is ready, to leaving, when it has ended; a context manager.

    Args:
        name: What to call it.
        arguments: The command line after ``holdfast``.
        ready: What it writes when it is ready; the server's address is on that line.
        directory: Where its output goes, which is what a service's output does.
        timeout: Seconds that it may take to be ready.
    """

    def __init__(
        self, name: str, arguments: Sequence[str | Path], ready: str, directory: Path, timeout: float = 180.0
    ) -> None:
        self.name = name
        self.address = ("", 0)
        self._command = [sys.executable, "-m", "holdfast", *map(str, arguments)]
        self._ready = ready
        self._timeout = timeout
        self._out, self._err = directory / f"{name}.out", directory / f"{name}.err"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Server:
        """Start it and wait until it is ready.

        Raises:
            ServerError: It is not ready in time, or ended.
        """
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment()
            )
        try:
            self.address = self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_details: object) -> None:
        """Stop it as a service is stopped."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    @property
    def host(self) -> str:
        """For the Host header."""
        return f"{self.address[0]}:{self.address[1]}"

    def cpu_seconds(self) -> float:
        """CPU time of all its processes so far."""
        if self._process is None:
            raise ServerError(f"{self.name} is not running.")
        return cpu_seconds(self._process.pid)

    def _wait(self) -> tuple[str, int]:
        deadline = time.monotonic() + self._timeout
        while time.monotonic() < deadline:
            for line in self._out.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
                found = _ADDRESS.search(line)
                if self._ready in line and found and line.endswith("\n"):
                    return found[1], int(found[2])
            if self._process is not None and self._process.poll() is not None:
                raise ServerError(f"{self.name} ended while it started. It wrote:\n{self._tail()}")
            time.sleep(0.05)
        raise ServerError(f"{self.name} was not ready within {self._timeout:g} s. It wrote:\n{self._tail()}")

    def _tail(self) -> str:
        lines = self._err.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-_SHOWN_LINES:])


def environment() -> dict[str, str]:
    """The environment of what is measured."""
    return {name: value for name, value in os.environ.items() if name not in _NOT_PASSED_ON}


def gateway(store: Path, directory: Path) -> Server:
    """The gateway with the embedded backend, on a free port, as it comes: its access log goes to a file."""
    arguments = ("serve", "--store", store, "--backend", "onnxruntime", "--host", "127.0.0.1", "--port", "0")
    return Server(GATEWAY, arguments, "Ready:", directory)


def torchserve(archives: Path, model: str, directory: Path) -> Server:
    """TorchServe with the archive ``<archives>/<model>.mar``, on free ports."""
    arguments = ("torchserve", "--store", archives, "--model", model, "--port", "0", "--metrics-port", "0")
    return Server(TORCHSERVE, arguments, "TorchServe is ready", directory)


def pack(bundle: Path, archives: Path, options: Sequence[str]) -> None:
    """Make the archive of a bundle with ``holdfast archive``.

    Raises:
        ServerError: It cannot be made.
    """
    command = [sys.executable, "-m", "holdfast", "archive", str(bundle), "--output", str(archives), *options]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
    if done.returncode != 0:
        raise ServerError(f"'holdfast archive' failed: {done.stderr.strip()}")
