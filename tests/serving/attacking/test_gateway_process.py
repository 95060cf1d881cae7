"""A real ``holdfast serve``: whatever ends it ends its attack workers, and none of them says a word."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from support.attacking import children, wait_gone
from support.gateway_process import PATIENCE, free_port
from support.tiny import solid_png

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

IMAGE = solid_png((153, 148, 0))
PNG = {"Content-Type": "image/png"}
ENDLESS = "epsilon=0.001&steps=10000&restarts=1000&stop_at_success=false"


@dataclass
class Running:
    """A gateway and what it writes."""

    process: subprocess.Popen[bytes]
    url: str
    output: Path

    def attack(self, query: str = "", accept: str = "*/*") -> httpx.Response:
        """One attack."""
        address = f"{self.url}/v1/models/tiny/attack?{query}"
        return httpx.post(address, content=IMAGE, headers={**PNG, "Accept": accept}, timeout=PATIENCE)

    def attack_and_hope(self) -> threading.Thread:
        """Begin an attack that does not end, in the background."""

        def run() -> None:
            with suppress(httpx.HTTPError):
                self.attack(ENDLESS)

        thread = threading.Thread(target=run)
        thread.start()
        return thread


@contextmanager
def serving(store: Path, output: Path, **settings: str) -> Iterator[Running]:
    """A gateway, ready, in a process group of its own, which a terminal's Ctrl-C is sent to."""
    port = free_port()
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "HOLDFAST_PORT": str(port),
        "HOLDFAST_MODEL_STORE": str(store),
        "HOLDFAST_ATTACK_BUDGET": "1e9",
        **settings,
    }
    command = [sys.executable, "-m", "holdfast", "serve"]
    with output.open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, process_group=0)
    try:
        url = f"http://127.0.0.1:{port}"
        end = time.monotonic() + PATIENCE
        while True:
            with suppress(httpx.TransportError):
                if httpx.get(f"{url}/readyz", timeout=5).status_code == 200:
                    break
            assert process.poll() is None, output.read_text()
            assert time.monotonic() < end, output.read_text()
            time.sleep(0.05)
        yield Running(process, url, output)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


@pytest.mark.parametrize("busy", [False, True])
def test_a_gateway_that_is_killed_leaves_no_worker_behind(
    tiny_store: Path, tmp_path: Path, busy: bool
) -> None:
    with serving(tiny_store, tmp_path / "log") as gateway:
        assert gateway.attack().status_code == 200
        workers = children(gateway.process.pid)
        assert len(workers) == 1
        attack = gateway.attack_and_hope() if busy else None
        time.sleep(0.5)
        gateway.process.kill()
        wait_gone(workers)
        if attack is not None:
            attack.join(PATIENCE)


def test_ctrl_c_ends_all_of_it_with_status_0_and_without_a_traceback(
    tiny_store: Path, tmp_path: Path
) -> None:
    with serving(tiny_store, tmp_path / "log") as gateway:
        assert gateway.attack().status_code == 200
        workers = children(gateway.process.pid)
        os.killpg(gateway.process.pid, signal.SIGINT)
        assert gateway.process.wait(PATIENCE) == 0
        wait_gone(workers)
        written = gateway.output.read_text()
    assert "Traceback" not in written
    assert "KeyboardInterrupt" not in written


def test_an_attack_in_flight_is_finished_when_everybody_is_told_to_stop(
    tiny_store: Path, tmp_path: Path
) -> None:
    settings = {"HOLDFAST_ATTACK_DEADLINE": "5", "HOLDFAST_ATTACK_WORKERS": "2"}
    with serving(tiny_store, tmp_path / "log", **settings) as gateway:
        assert gateway.attack().status_code == 200
        found: dict[str, httpx.Response] = {}

        def attack(accept: str) -> None:
            found[accept] = gateway.attack("steps=10000&stop_at_success=false", accept)

        callers = [threading.Thread(target=attack, args=(each,)) for each in ("*/*", "text/event-stream")]
        for caller in callers:
            caller.start()
        time.sleep(0.3)
        workers = children(gateway.process.pid)
        for pid in (*workers, gateway.process.pid):  # as a service manager does with a whole control group
            os.kill(pid, signal.SIGTERM)
        for caller in callers:
            caller.join(PATIENCE)
        assert gateway.process.wait(PATIENCE) == 0
        wait_gone(workers)
    assert found["*/*"].status_code in (200, 504), found["*/*"].text
    told = found["text/event-stream"]
    assert told.status_code in (200, 504), told.text
    if told.status_code == 200:  # else it was told nothing within its time
        last = told.text.rstrip().rpartition("\n\n")[2]
        assert last.startswith(("event: result\n", "event: problem\n")), last
