"""Starting and stopping TorchServe."""

from __future__ import annotations

import shutil
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from holdfast.archive import ArchiveError, WorkerSettings
from holdfast.bundle import ModelStore
from holdfast.errors import UsageError
from serving.torchserve.config import LaunchSettings
from serving.torchserve.errors import TorchServeError
from serving.torchserve.java import find_java
from serving.torchserve.launch import TorchServe, _environment, free_port
from serving.torchserve.models import find_archives

PATIENCE = 60


def family(pid: int) -> list[psutil.Process]:
    """A process and everything below it."""
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.torchserve
def test_only_this_user_can_enter_its_directory(torchserve: TorchServe) -> None:
    assert stat.S_IMODE(torchserve.directory.stat().st_mode) == 0o700
    assert torchserve.management_socket.is_socket()


@pytest.mark.torchserve
def test_nothing_listens_beyond_loopback(torchserve: TorchServe) -> None:
    listening = {
        connection.laddr.ip
        for process in family(torchserve.pid)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}
    assert listening


@pytest.mark.torchserve
def test_the_management_api_registers_and_removes_nothing(torchserve: TorchServe) -> None:
    transport = httpx.HTTPTransport(uds=str(torchserve.management_socket))
    with httpx.Client(transport=transport, base_url="http://management") as client:
        known = client.get("/models").json()["models"]
        assert {"modelName": "digits", "modelUrl": "digits"} in known
        for url in ("digits", "file:///etc/passwd", "http://127.0.0.1:9/model.mar"):
            assert client.post("/models", params={"url": url}).status_code == 405
        assert client.delete("/models/digits").status_code == 405
        assert client.get("/models").json()["models"] == known


@pytest.mark.torchserve
def test_metrics_are_prometheus_text(torchserve: TorchServe) -> None:
    text = httpx.get(f"http://127.0.0.1:{torchserve.settings.metrics_port}/metrics").text
    assert "# TYPE ts_inference_requests_total counter" in text


@pytest.mark.torchserve
def test_its_workers_run_this_python(torchserve: TorchServe) -> None:
    workers = [p for p in family(torchserve.pid) if "model_service_worker.py" in " ".join(p.cmdline())]
    assert len(workers) == len(torchserve.models)
    assert {worker.cmdline()[0] for worker in workers} == {sys.executable}


@pytest.mark.torchserve
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_the_command_serves_until_a_signal_ends_it_and_leaves_no_process(
    number: signal.Signals, archived_store: Path
) -> None:
    if number == signal.SIGKILL and sys.platform != "linux":
        pytest.skip("only Linux lets a child ask to end with its parent")
    port = free_port()
    command = [sys.executable, "-m", "holdfast", "torchserve", "--store", str(archived_store)]
    command += ["--model", "digits", "--port", str(port), "--metrics-port", "0", "--workers", "2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    everyone: list[psutil.Process] = []
    try:
        assert process.stdout is not None
        lines = []
        while not any("is ready on" in line for line in lines):
            lines.append(process.stdout.readline())
            assert lines[-1], f"it ended: {''.join(lines)}"
        assert f"http://127.0.0.1:{port} and serves digits version 1" in lines[-1]
        everyone = family(process.pid)
        assert len(everyone) == 1 + 1 + 2 + 1, "the command, Java, two workers and one for attacks"
        config = next(part for part in everyone[1].cmdline() if part.endswith("config.properties"))
        process.send_signal(number)
        out, _ = process.communicate(timeout=PATIENCE)
        _, left = psutil.wait_procs(everyone, timeout=PATIENCE)
        assert alive(left) == []
    finally:
        for each in alive(everyone):
            each.kill()
        process.kill()
        process.wait()
    if number == signal.SIGTERM:
        assert process.returncode == 0
        assert "TorchServe has stopped." in out
        assert not Path(config).parent.exists()
    else:
        shutil.rmtree(Path(config).parent)


@pytest.mark.torchserve
@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_is_an_error_that_shows_why(digits_store: Path, tmp_path: Path) -> None:
    from training.archive import archive

    bundle = ModelStore(digits_store).open("digits")
    path = archive(bundle, tmp_path, settings=WorkerSettings(startup_timeout=20))
    settings = LaunchSettings(port=free_port(), metrics_port=free_port(), heap="256m", attack_workers=0)
    with TorchServe([path], settings, find_java()) as server:
        server.start()
        # Changed after it was verified: the worker notices before it loads it.
        (server.directory / "models" / "digits" / "model.pt").write_bytes(b"something else")
        with pytest.raises(TorchServeError, match=r"cannot load the model(.|\n)*model\.pt is not what"):
            server.wait_ready()


def test_a_damaged_archive_is_refused_before_java_starts(archived_store: Path, tmp_path: Path) -> None:
    data = bytearray((archived_store / "digits.mar").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "digits.mar").write_bytes(data)
    server = TorchServe(find_archives(tmp_path), LaunchSettings(port=free_port()), find_java())
    with pytest.raises(ArchiveError, match=r"digits\.mar"):
        server.start()
    with pytest.raises(TorchServeError, match="not running"):
        server.check()


def test_a_port_that_is_taken_is_named(archived_store: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"Port {port} cannot be used"):
            TorchServe(find_archives(archived_store), LaunchSettings(port=port), find_java()).start()


def test_two_apis_on_one_port_are_refused(archived_store: Path) -> None:
    settings = LaunchSettings(port=free_port())
    settings = settings.model_copy(update={"metrics_port": settings.port})
    with pytest.raises(UsageError, match="must differ"):
        TorchServe(find_archives(archived_store), settings, find_java()).start()


def test_nothing_in_the_environment_overrides_the_config() -> None:
    given = {"TS_CONFIG_FILE": "/other", "LOG_LOCATION": "/other", "HOLDFAST_PORT": "1", "PATH": "/bin"}
    made = _environment(given, workers=1)
    ours = {"OMP_NUM_THREADS", "OMP_WAIT_POLICY", "TS_OPEN_INFERENCE_PROTOCOL"}
    assert set(made) == {"PATH"} | ours
    assert _environment({"OMP_NUM_THREADS": "7"}, workers=2)["OMP_NUM_THREADS"] == "7"
