"""Running TorchServe: from archives to a process that answers, and back to no process at all.

The Java front end is started directly. TorchServe's own launcher writes its process id where every user of
the machine shares it, and leaves Java behind when it is told to stop.

State: a :class:`TorchServe` owns one private directory (mode 0700: models, config, sockets, log) and one
process group (Java and the Python workers that it starts). :meth:`TorchServe.stop` gives both back.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from holdfast import npy
from holdfast.errors import MissingExtraError, UsageError
from serving.torchserve.config import HOST, LOG, MANAGEMENT_SOCKET, LaunchSettings, logging_config, properties
from serving.torchserve.errors import TorchServeError
from serving.torchserve.java import Java
from serving.torchserve.models import ServedModel, prepare, prepare_attacks

_MAIN = "org.pytorch.serve.ModelServer"
_LOG_CONFIG, _CONFIG, _CONSOLE = "log4j2.xml", "config.properties", "console.log"
#: What TorchServe writes of a model whose directory it does not like.
_LOAD_FAILED = b"Failed to load model"
#: What a worker writes when it ends by itself; a model that cannot be loaded ends every worker so.
_WORKER_DIED = b"Backend worker process died."
_PATIENCE_WITH_WORKERS = 1
#: Seconds for Java to end after SIGTERM, and for what is left of its group after SIGKILL.
_GRACE, _GRACE_KILLED = 15.0, 5.0
#: Seconds for one of the predictions that tell whether it is up; workers have run once before they answer.
_PROBE_TIMEOUT = 5.0
_SHOWN_LINES = 15

Part = TypeVar("Part")


class TorchServe:
    """One TorchServe, from :meth:`start` to :meth:`stop`; a context manager.

    Args:
        archives: The .mar files to serve; no two of one model.
        settings: Ports, workers, limits.
        java: The runtime, from :func:`serving.torchserve.java.find_java`.
    """

    def __init__(self, archives: Sequence[Path], settings: LaunchSettings, java: Java) -> None:
        self.settings = settings
        self.java = java
        self.models: list[ServedModel] = []
        self._archives = list(archives)
        self._directory: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address for ``HOLDFAST_TORCHSERVE_URL``."""
        return f"http://{HOST}:{self.settings.port}"

    @property
    def pid(self) -> int:
        """Java's process id, which is also its process group's."""
        return _there(self._process).pid

    @property
    def directory(self) -> Path:
        """The run's private directory."""
        return _there(self._directory)

    @property
    def management_socket(self) -> Path:
        """The management API's socket, where no management port was asked for."""
        return self.directory / MANAGEMENT_SOCKET

    @property
    def log_path(self) -> Path:
        """What TorchServe and its workers write; gone when they are."""
        return self.directory / LOG

    def __enter__(self) -> TorchServe:
        return self

    def __exit__(self, *_details: object) -> None:
        self.stop()

    def start(self) -> None:
        """Unpack and verify the archives and start the process; :meth:`wait_ready` waits for it.

        Call it from a thread that lives as long as TorchServe shall: on Linux, Java ends with that thread.

        Raises:
            ArchiveError: An archive is damaged, or not one of Holdfast's.
            UsageError: A port is taken, or two archives hold the same model.
            MissingExtraError: TorchServe is not installed in this Python.
        """
        home = _torchserve_home()
        _check_ports(self.settings)
        self._directory = Path(tempfile.mkdtemp(prefix="holdfast-torchserve-"))
        try:
            for name in ("models", "tmp"):
                (self._directory / name).mkdir()
            models = self._directory / "models"
            self.models = [prepare(archive, models, self.settings.workers) for archive in self._archives]
            if workers := self.settings.attack_workers:
                self.models += [prepare_attacks(model, models, workers) for model in self.models]
            names = [model.name for model in self.models]
            (self._directory / _CONFIG).write_text(
                properties(self.settings, self._directory, names), encoding="ascii"
            )
            (self._directory / _LOG_CONFIG).write_text(logging_config(self._directory), encoding="utf-8")
            self._process = self._spawn(home)
        except BaseException:
            self.stop()
            raise

    def wait_ready(self, interrupted: Callable[[], bool] = lambda: False) -> None:
        """Wait until every model has answered a real prediction: /ping answers before any worker does.

        Args:
            interrupted: Asked between two looks whether to stop waiting.

        Raises:
            TorchServeError: The process ended, its workers keep dying, or the startup timeout passed.
        """
        deadline = time.monotonic() + self.settings.startup_timeout
        for model in self.models:
            while not self._answers(model):
                self.check()
                if interrupted():
                    return
                log = self._log()
                if _LOAD_FAILED in log or log.count(_WORKER_DIED) > _PATIENCE_WITH_WORKERS:
                    raise self._failure("TorchServe cannot load the model")
                if time.monotonic() > deadline:
                    raise self._failure(
                        f"TorchServe did not answer within {self.settings.startup_timeout:g} s"
                    )
                time.sleep(0.25)

    def check(self) -> None:
        """Whether the process is still there.

        Raises:
            TorchServeError: It has ended; the message shows what it wrote last.
        """
        code = _there(self._process).poll()
        if code is not None:
            raise self._failure(f"TorchServe ended by itself with exit status {code}")

    def log_tail(self, lines: int = _SHOWN_LINES) -> str:
        """The last lines that TorchServe and its workers wrote."""
        text = self._log().decode("utf-8", errors="replace").strip()
        console = self.directory / _CONSOLE
        if not text and console.is_file():
            text = console.read_text(encoding="utf-8", errors="replace").strip()
        return "\n".join(text.splitlines()[-lines:])

    def stop(self) -> None:
        """End the process and all that it started, and remove the private directory. Safe to call twice."""
        process, self._process = self._process, None
        if process is not None:
            _end_group(process)
        directory, self._directory = self._directory, None
        if directory is not None:
            shutil.rmtree(directory, ignore_errors=True)

    def _spawn(self, home: Path) -> subprocess.Popen[bytes]:
        directory = self.directory
        command = [str(self.java.path), f"-Xmx{self.settings.heap}", f"-Dmodel_server_home={home}"]
        # Sockets, native libraries and unpacked models go where no one else may look.
        command += [f"-Djava.io.tmpdir={directory / 'tmp'}"]
        command += [f"-Dlog4j.configurationFile={(directory / _LOG_CONFIG).as_uri()}"]
        command += ["-cp", str(home / "ts" / "frontend" / "*"), _MAIN]
        command += ["--python", sys.executable, "-f", str(directory / _CONFIG), "-ncs"]
        workers = sum(model.workers for model in self.models)
        with (directory / _CONSOLE).open("wb") as console:
            return subprocess.Popen(  # noqa: S603 - our own command, no shell
                command,
                cwd=directory,
                env=_environment(os.environ, workers),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                # A group of its own: Ctrl-C reaches us and not Java, and the group can be ended as a whole.
                start_new_session=True,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )

    def _answers(self, model: ServedModel) -> bool:
        body = npy.encode(np.zeros((1, *model.manifest.input.shape), dtype=np.float32))
        connection = http.client.HTTPConnection(HOST, self.settings.port, timeout=_PROBE_TIMEOUT)
        try:
            connection.request("POST", model.path, body, {"Content-Type": npy.MEDIA_TYPE})
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _log(self) -> bytes:
        return self.log_path.read_bytes() if self.log_path.is_file() else b""

    def _failure(self, message: str) -> TorchServeError:
        tail = self.log_tail()
        return TorchServeError(f"{message}. It wrote last:\n{tail}" if tail else f"{message}.")


def _there(part: Part | None) -> Part:
    if part is None:
        raise TorchServeError("TorchServe is not running.", hint="Start it with: holdfast torchserve")
    return part


def free_port() -> int:
    """A port that is free on loopback at the moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _torchserve_home() -> Path:
    """The directory above TorchServe's package."""
    for module in ("ts", "torch", "psutil", "yaml"):
        if importlib.util.find_spec(module) is None:
            package = {"ts": "torchserve", "yaml": "pyyaml"}.get(module, module)
            raise MissingExtraError(package, "torchserve", "TorchServe")
    spec = importlib.util.find_spec("ts")
    locations = list(spec.submodule_search_locations or ()) if spec else []
    home = Path(locations[0]).parent if locations else Path()
    if not (home / "ts" / "frontend" / "model-server.jar").is_file():
        raise TorchServeError(
            "The Python package 'ts' that is installed is not TorchServe's.",
            hint="Install it with: pip install 'holdfast[torchserve]'",
        )
    return home


def _check_ports(settings: LaunchSettings) -> None:
    """Refuse now what Java would fail at later, with a stack trace."""
    wanted = (settings.port, settings.metrics_port, settings.management_port)
    ports = [port for port in wanted if port is not None]
    hint = "Choose others with --port, --metrics-port and --management-port."
    if len(set(ports)) < len(ports):
        raise UsageError(f"The ports {ports} must differ from one another.", hint=hint)
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError as error:
                reason = error.strerror or str(error)
                raise UsageError(f"Port {port} cannot be used: {reason}.", hint=hint) from None


def _environment(given: Mapping[str, str], workers: int) -> dict[str, str]:
    """The process's environment: nothing that would override the config, and the cores shared fairly."""
    overrides = ("LOG_LOCATION", "METRICS_LOCATION", "SM_TELEMETRY_LOG", "TEMP")
    environment = {
        name: value
        for name, value in given.items()
        if name not in overrides and not name.startswith(("TS_", "HOLDFAST_"))
    }
    environment["TS_OPEN_INFERENCE_PROTOCOL"] = "oip"  # /v2: what the server is, and whether it lives
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    environment.setdefault("OMP_NUM_THREADS", str(max(1, cores // max(1, workers))))
    # Threads that spin while they wait for one another make a busy machine a hundred times slower.
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    return environment


def _die_with_parent() -> None:
    """Ask Linux to stop Java if we are killed outright; otherwise nothing would."""
    import ctypes

    set_parent_death_signal = 1
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End Java politely, then whatever is left of its group without asking."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    deadline = time.monotonic() + _GRACE_KILLED
    with contextlib.suppress(ProcessLookupError, PermissionError):
        while time.monotonic() < deadline:
            os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):  # workers become ours where we are process 1
                os.waitpid(-process.pid, os.WNOHANG)
            time.sleep(0.02)
