"""Servers that are measured, as real processes: started, waited for, and ended with all they started."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil  # type: ignore[import-untyped]
from machine import Memory, cpu_seconds, memory, processes

from holdfast.errors import HoldfastError

GATEWAY, TORCHSERVE = "gateway", "TorchServe"

Address = tuple[str, int]

_ADDRESS = re.compile(r"http://(127\.0\.0\.1):(\d+)")
#: Seconds to end by itself after SIGTERM, and to be gone after SIGKILL.
_GRACE, _GRACE_KILLED = 30.0, 10.0
#: Seconds between two looks whether a server is ready: how exact the time to its first answer is.
_LOOK = 0.02
_SHOWN_LINES = 15

#: Threads of OpenMP and the like, which a shell may have set for something else: what is measured is what
#: the servers choose by themselves. HOLDFAST_… stays, and is reported.
_NOT_PASSED_ON = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class ServerError(HoldfastError):
    """A server that was to be measured did not start."""


class Server:
    """A server's processes, from entering, when it is ready, to leaving, when they ended; a context manager.

    Args:
        name: What to call it.
        command: The command line.
        ready: Asked again and again with what it has written; its address once it is ready.
        directory: Where its output goes, which is what a service's output does.
        environment: Of its process; :func:`environment` by default.
        folder: Where it runs; here by default.
        timeout: Seconds that it may take to be ready.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        ready: Callable[[str], Address | None],
        directory: Path,
        *,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        timeout: float = 180.0,
    ) -> None:
        self.name = name
        self.address: Address = ("", 0)
        self.cold_start = 0.0
        self._command = [str(part) for part in command]
        self._ready = ready
        self._environment = environment
        self._folder = folder
        self._timeout = timeout
        self._out, self._err = directory / f"{name}.out", directory / f"{name}.err"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Server:
        """Start it and wait until it is ready; ``cold_start`` says how many seconds that took.

        Raises:
            ServerError: It is not ready in time, or ended.
        """
        began = time.monotonic()
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=self._folder,
                env=environment() if self._environment is None else self._environment,
                start_new_session=True,  # a group of its own, to be ended as a whole
            )
        try:
            self.address = self._wait(began + self._timeout)
        except BaseException:
            self.__exit__()
            raise
        self.cold_start = time.monotonic() - began
        return self

    def __exit__(self, *_details: object) -> None:
        """Stop it as a service is stopped, then without asking whatever is left of it."""
        process, self._process = self._process, None
        if process is not None:
            end(process)

    @property
    def host(self) -> str:
        """For the Host header."""
        return f"{self.address[0]}:{self.address[1]}"

    @property
    def pid(self) -> int:
        """The first of its processes.

        Raises:
            ServerError: It is not running.
        """
        if self._process is None:
            raise ServerError(f"{self.name} is not running.")
        return self._process.pid

    def cpu_seconds(self) -> float:
        """CPU time of all its processes so far."""
        return cpu_seconds(self.pid)

    def memory(self) -> Memory:
        """What all its processes hold."""
        return memory(self.pid)

    def tail(self) -> str:
        """The last lines that it wrote, of its errors where there are any."""
        texts = (
            path.read_text(encoding="utf-8", errors="replace").strip() for path in (self._err, self._out)
        )
        return "\n".join(next(filter(None, texts), "nothing").splitlines()[-_SHOWN_LINES:])

    def _wait(self, deadline: float) -> Address:
        while time.monotonic() < deadline:
            address = self._ready(self._out.read_text(encoding="utf-8", errors="replace"))
            if address is not None:
                return address
            if self._process is not None and self._process.poll() is not None:
                raise ServerError(f"{self.name} ended while it started. It wrote:\n{self.tail()}")
            time.sleep(_LOOK)
        raise ServerError(f"{self.name} was not ready within {self._timeout:g} s. It wrote:\n{self.tail()}")


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process that leads a session, and every process that it started, in whatever group it is."""
    started = processes(process.pid)[1:]
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    for child in started:  # those in groups of their own; psutil knows a process id that is used again
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    process.wait()
    deadline = time.monotonic() + _GRACE_KILLED
    while any(map(_runs, started)) and time.monotonic() < deadline:
        time.sleep(_LOOK)


def _runs(process: psutil.Process) -> bool:
    """Whether it is there; one that nobody has asked for its status since it ended is not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def announces(words: str) -> Callable[[str], Address | None]:
    """Ready when it writes these words, on a line with its address."""

    def ready(output: str) -> Address | None:
        for line in output.splitlines(keepends=True):
            found = _ADDRESS.search(line)
            if words in line and found and line.endswith("\n"):
                return found[1], int(found[2])
        return None

    return ready


def environment() -> dict[str, str]:
    """The environment of what is measured."""
    return {name: value for name, value in os.environ.items() if name not in _NOT_PASSED_ON}


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def gateway(store: Path, directory: Path) -> Server:
    """The gateway with the embedded backend, on a free port, as it comes: its access log goes to a file."""
    return Server(GATEWAY, gateway_command(store, 0), announces("Ready:"), directory)


def gateway_command(store: Path, port: int) -> list[str | Path]:
    """What starts the gateway with the embedded backend."""
    options = ("--backend", "onnxruntime", "--host", "127.0.0.1", "--port", str(port))
    return [sys.executable, "-m", "holdfast", "serve", "--store", store, *options]


def torchserve(archives: Path, model: str, directory: Path) -> Server:
    """TorchServe with the archive ``<archives>/<model>.mar``, on free ports."""
    command: list[str | Path] = [sys.executable, "-m", "holdfast", "torchserve", "--store", archives]
    command += ["--model", model, "--port", "0", "--metrics-port", "0"]
    return Server(TORCHSERVE, command, announces("TorchServe is ready"), directory)


def pack(bundle: Path, archives: Path, options: Sequence[str]) -> None:
    """Make the archive of a bundle with ``holdfast archive``.

    Raises:
        ServerError: It cannot be made.
    """
    command = [sys.executable, "-m", "holdfast", "archive", str(bundle), "--output", str(archives), *options]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
    if done.returncode != 0:
        raise ServerError(f"'holdfast archive' failed: {done.stderr.strip()}")
