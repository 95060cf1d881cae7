"""TorchServe killed, stopped and hung under load, with real signals: what callers of the gateway see.

One TorchServe of its own, run by ``holdfast torchserve``, for all of the file; each test waits until it works
again, which is part of what is tested.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest
from support.digits import digit_pngs
from support.gateway_process import running_gateway

from holdfast.archive import WorkerSettings
from holdfast.bundle import ModelStore
from serving.torchserve.launch import free_port

pytestmark = [pytest.mark.torchserve, pytest.mark.slow]

#: Seconds that the gateway gives a request, that a server may answer nothing, and that a recovery may take.
DEADLINE, HANG, PATIENCE = 8.0, 2.0, 90.0
#: A caller's answer may be this much later than its deadline, on a machine with other things to do.
SLACK = 4.0
CALLERS = 12
CLASSIFY = "/v1/models/digits/classify"


class Supervised:
    """``holdfast torchserve`` and all that it runs."""

    def __init__(self, process: subprocess.Popen[bytes], url: str) -> None:
        self.process = process
        self.url = url

    @property
    def java(self) -> psutil.Process:
        """TorchServe itself."""
        [java] = psutil.Process(self.process.pid).children()
        return java

    @property
    def workers(self) -> list[psutil.Process]:
        """The Python processes that classify."""
        found = []
        for child in self.java.children(recursive=True):
            with suppress(psutil.Error):
                if any("model_service_worker" in word for word in child.cmdline()):
                    found.append(child)
        return found

    @property
    def worker(self) -> psutil.Process:
        """The only one."""
        [worker] = self.workers
        return worker


@contextmanager
def supervised(store: Path) -> Iterator[Supervised]:
    port = free_port()
    command = [sys.executable, "-m", "holdfast", "torchserve", "--store", str(store), "--model", "digits"]
    command += ["--port", str(port), "--metrics-port", str(free_port()), "--heap", "256m"]
    command += ["--attack-workers", "0"]
    with tempfile.TemporaryFile("w+b") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            yield Supervised(process, f"http://127.0.0.1:{port}")
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            output.seek(0)
            sys.stdout.write(output.read().decode(errors="replace"))


@pytest.fixture(scope="module")
def store(digits_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from shutil import copytree

    from training.archive import archive

    made = tmp_path_factory.mktemp("store")
    copytree(digits_store / "digits", made / "digits")
    archive(ModelStore(made).open("digits"), made, settings=WorkerSettings(response_timeout=6))
    return made


@pytest.fixture(scope="module")
def server(store: Path) -> Iterator[Supervised]:
    with supervised(store) as started:
        yield started


@pytest.fixture(scope="module")
def gateway(store: Path, server: Supervised) -> Iterator[str]:
    settings = {
        "HOLDFAST_BACKEND": "torchserve",
        "HOLDFAST_TORCHSERVE_URL": server.url,
        "HOLDFAST_DEADLINE": str(DEADLINE),
        "HOLDFAST_BACKEND_PATIENCE": str(HANG),
    }
    with running_gateway(store, **settings) as url:
        yield url


class Load:
    """Callers that ask all the time, and what each request came to."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.asked = 0
        self.answers: Counter[int] = Counter()
        self.slowest = 0.0
        self._images = digit_pngs(20)
        self._labels: list[str] = []

    async def learn(self) -> None:
        """What the right answers are."""
        for png in self._images:
            self._labels.append(self._label(await self._post(png)))

    async def run(self, fault: Callable[[], Awaitable[None]]) -> None:
        """Ask from many callers while the fault happens, and until it is over."""
        done = asyncio.Event()

        async def strike() -> None:
            try:
                before = self.answers[200]
                await self.until(lambda: self.answers[200] >= before + 2 * CALLERS)
                await fault()
                await self.until_ready(True)
                before = self.answers[200]
                await self.until(lambda: self.answers[200] >= before + 2 * CALLERS)
            finally:
                done.set()

        await asyncio.gather(strike(), *(self._call(index, done) for index in range(CALLERS)))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something is so."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"it never happened: {self.answers}"
            await asyncio.sleep(0.02)

    async def until_ready(self, ready: bool) -> None:
        """Wait until the gateway says that it is ready, or not."""
        deadline = time.monotonic() + PATIENCE
        while (await self.client.get("/readyz")).status_code != (200 if ready else 503):
            assert time.monotonic() < deadline, f"it was never {'' if ready else 'un'}ready: {self.answers}"
            await asyncio.sleep(0.05)

    async def _call(self, index: int, done: asyncio.Event) -> None:
        while not done.is_set():
            index = (index + 1) % len(self._images)
            began = time.monotonic()
            self.asked += 1
            # An exception here, such as a connection that was reset, fails the test: nobody goes unanswered.
            response = await self._post(self._images[index])
            took = time.monotonic() - began
            self.slowest = max(self.slowest, took)
            self.answers[response.status_code] += 1
            if response.status_code == 200:
                assert self._label(response) == self._labels[index], "another caller's answer"
                continue
            assert response.status_code == 503, response.text
            assert response.headers["content-type"] == "application/problem+json"
            assert response.json()["type"] in ("/problems#backend-unavailable", "/problems#overloaded")
            assert int(response.headers["retry-after"]) >= 1
            await asyncio.sleep(0.1)

    async def _post(self, png: bytes) -> httpx.Response:
        return await self.client.post(CLASSIFY, content=png, headers={"Content-Type": "image/png"})

    @staticmethod
    def _label(response: httpx.Response) -> str:
        label: str = response.json()["predictions"][0]["label"]
        return label

    def check(self) -> None:
        """What holds whatever has happened."""
        assert sum(self.answers.values()) == self.asked, "every request has exactly one answer"
        assert set(self.answers) <= {200, 503}
        assert self.slowest < DEADLINE + SLACK


def under_load(url: str, fault: Callable[[Load], Awaitable[None]]) -> Load:
    async def run() -> Load:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=url, timeout=PATIENCE, limits=limits) as client:
            load = Load(client)
            await load.until_ready(True)
            await load.learn()
            await load.run(lambda: fault(load))
            load.check()
            return load

    return asyncio.run(run())


async def answered_at_once(load: Load) -> None:
    """While it is down nobody waits for it: a request of one's own is refused in no time."""
    began = time.monotonic()
    response = await load._post(load._images[0])
    assert response.status_code == 503
    assert time.monotonic() - began < SLACK / 2


def test_a_worker_killed_outright_costs_503s_until_torchserve_has_another(
    gateway: str, server: Supervised
) -> None:
    async def kill(load: Load) -> None:
        worker = server.worker
        worker.kill()
        await asyncio.to_thread(worker.wait, PATIENCE)
        before = load.answers[200]
        await load.until(lambda: load.answers[200] > before)

    load = under_load(gateway, kill)
    assert load.answers[200]


def test_a_worker_that_hangs_is_noticed_and_replaced(gateway: str, server: Supervised) -> None:
    async def stop(load: Load) -> None:
        worker = server.worker
        worker.suspend()
        await load.until_ready(False)
        await answered_at_once(load)
        await asyncio.to_thread(worker.wait, PATIENCE)  # TorchServe's own response timeout ends it

    assert under_load(gateway, stop).answers[503]


def test_a_torchserve_that_is_stopped_holds_nobody_up_and_goes_on_where_it_was(
    gateway: str, server: Supervised
) -> None:
    async def stop(load: Load) -> None:
        java = server.java
        java.suspend()
        try:
            await load.until_ready(False)
            await answered_at_once(load)
        finally:
            java.resume()

    assert under_load(gateway, stop).answers[503]


def test_a_torchserve_killed_outright_is_started_again_and_service_resumes(
    gateway: str, server: Supervised
) -> None:
    async def kill(load: Load) -> None:
        java, workers = server.java.pid, server.workers
        os.kill(java, signal.SIGKILL)
        await load.until_ready(False)
        await answered_at_once(load)
        await load.until_ready(True)
        assert server.java.pid != java
        gone = [worker for worker in workers if not worker.is_running()]
        assert gone == workers, "what it had started has gone with it"

    assert under_load(gateway, kill).answers[503]


def test_a_torchserve_that_is_told_to_stop_resets_connections_and_nobody_notices_but_by_503(
    gateway: str, server: Supervised
) -> None:
    async def terminate(load: Load) -> None:
        java = server.java
        java.terminate()  # it drops what is in flight, without a word
        await asyncio.to_thread(java.wait, PATIENCE)
        await load.until_ready(False)

    assert under_load(gateway, terminate).answers[503]
