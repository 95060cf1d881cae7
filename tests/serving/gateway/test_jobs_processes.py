"""A gateway and its worker are killed, stopped and drained while a job runs, and the job is finished."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.campaigns import JOBS
from support.gateway_process import free_port
from support.jobs import LONG, PATIENCE, wait_until
from support.tiny import solid_png


class Served:
    """A `holdfast serve` with its own worker for jobs."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, log: Path) -> None:
        self.process = process
        self.client = httpx.Client(base_url=url, timeout=PATIENCE)
        self._log = log

    def log(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.log()
        try:
            return self.client.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def submit(self, count: int = 16, **parameters: Any) -> dict[str, Any]:
        """A campaign that fools nobody: images of the purest red, within a budget of nothing."""
        fields = {"model": "tiny", "attack": "pgd", "epsilon": "1/255", "labels": "file", **parameters}
        files = [("f", (f"red-{n}.png", solid_png((255 - n, n, 0)))) for n in range(count)]
        response = self.client.post(
            JOBS, data={name: str(each) for name, each in fields.items()}, files=files
        )
        assert response.status_code == 202, response.text
        job: dict[str, Any] = response.json()
        return job

    def job(self, job: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = self.client.get(job["links"]["self"]).json()
        return answer

    def wait_for(self, job: dict[str, Any], state: str) -> None:
        wait_until(lambda: self.job(job)["state"] == state, f"{state} of {self.job(job)}:\n{self.log()}")

    def wait_for_progress(self, job: dict[str, Any], images: int) -> None:
        wait_until(lambda: self.job(job)["progress"]["done"] >= images, f"{images} images")

    def worker(self) -> int:
        """The process id of its worker, as the kernel knows it."""
        found = subprocess.run(
            ["ps", "-o", "pid=,args=", "--ppid", str(self.process.pid)],
            capture_output=True,
            text=True,
            check=False,
        ).stdout
        return next((int(line.split()[0]) for line in found.splitlines() if "worker" in line), 0)


@contextmanager
def serve(store: Path, place: Path, **settings: str) -> Iterator[Served]:
    port = free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")},
        "OMP_NUM_THREADS": "1",
        "HOLDFAST_THREADS": "1",
        "HOLDFAST_MODEL_STORE": str(store),
        "HOLDFAST_PORT": str(port),
        "HOLDFAST_JOBS_DATABASE": f"sqlite:///{place}/jobs/jobs.sqlite",
        "HOLDFAST_JOBS_CHUNK_IMAGES": "4",
        "HOLDFAST_JOBS_LEASE": "2",
        "HOLDFAST_JOBS_DRAIN": "0.5",
        **settings,
    }
    log = place / f"gateway-{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "holdfast", "serve"], env=environment, stdout=output, stderr=output
        )
    served = Served(process, f"http://127.0.0.1:{port}", log)
    try:
        wait_until(served.is_ready, "a gateway")
        yield served
    finally:
        served.client.close()
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait(PATIENCE)


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].startswith("Z")
    except FileNotFoundError:
        return True


@pytest.fixture
def store(tiny_store: Path) -> Path:
    return tiny_store


def test_gateway_killed_in_the_middle_takes_its_worker_along_and_the_next_one_finishes_the_job(
    store: Path, tmp_path: Path
) -> None:
    with serve(store, tmp_path) as first:
        assert first.worker() == 0  # there is none before there is a job
        job = first.submit(24, steps=150)
        first.wait_for_progress(job, 8)
        worker = first.worker()
        assert worker
        first.process.kill()
        first.process.wait(PATIENCE)
        wait_until(lambda: is_gone(worker), "the worker to end with its gateway")
    with serve(store, tmp_path) as second:
        done = second.job(job)["progress"]["done"]
        assert 8 <= done < 24
        second.wait_for(job, "succeeded")
        events = second.client.get(job["links"]["events"]).text
        assert events.count("event: progress") == 6
        result = second.client.get(job["links"]["result"]).json()
        images = [each["image"] for each in result["runs"][0]["record"]["results"]]
        assert images == [f"red-{n}.png" for n in range(24)]
        second.process.terminate()
        assert second.process.wait(PATIENCE) == 0


def test_worker_that_dies_is_replaced_at_once_and_classifying_goes_on(store: Path, tmp_path: Path) -> None:
    with serve(store, tmp_path, HOLDFAST_JOBS_LEASE="600") as served:
        job = served.submit(24, steps=150)
        served.wait_for_progress(job, 4)
        worker = served.worker()
        os.kill(worker, signal.SIGKILL)
        png = {"Content-Type": "image/png"}
        answer = served.client.post("/v1/models/tiny/classify", content=solid_png("red"), headers=png)
        assert answer.status_code == 200
        # Not for its lease to run out: the gateway knows that it is gone.
        served.wait_for(job, "succeeded")
        assert served.worker() not in (0, worker)
        assert "ended with status -9" in served.log()


def test_worker_goes_when_there_is_nothing_to_do_and_comes_back_for_the_next_job(
    store: Path, tmp_path: Path
) -> None:
    with serve(store, tmp_path, HOLDFAST_JOBS_IDLE="0.5") as served:
        served.wait_for(served.submit(4, steps=3), "succeeded")
        wait_until(lambda: served.worker() == 0, "the worker to go")
        served.wait_for(served.submit(4, steps=3), "succeeded")
        assert len(set(re.findall(r"Worker (\S+) is ready", served.log()))) == 2


def test_stream_of_events_does_not_hold_up_the_end_and_is_continued_after_it(
    store: Path, tmp_path: Path
) -> None:
    seen: list[str] = []
    with serve(store, tmp_path) as first:
        job = first.submit(8, **LONG)
        begun = threading.Event()

        def follow() -> None:
            with httpx.stream(
                "GET", str(first.client.base_url) + job["links"]["events"], timeout=PATIENCE
            ) as stream:
                for line in stream.iter_lines():
                    seen.append(line)
                    if line == "event: running":
                        begun.set()

        follower = threading.Thread(target=follow)
        follower.start()
        assert begun.wait(PATIENCE)
        first.process.terminate()
        assert first.process.wait(15) == 0
        follower.join(PATIENCE)
        assert not follower.is_alive()
    last = [line.removeprefix("id: ") for line in seen if line.startswith("id: ")][-1]
    with serve(store, tmp_path, HOLDFAST_JOBS_WORKERS="0") as second:
        second.client.delete(job["links"]["self"])
        rest = second.client.get(job["links"]["events"], headers={"Last-Event-ID": last}).text
    assert [line for line in rest.splitlines() if line.startswith("event: ")] == ["event: cancelled"]


def test_job_that_is_cancelled_is_left_by_its_worker_and_the_next_one_begins(
    store: Path, tmp_path: Path
) -> None:
    with serve(store, tmp_path) as served:
        job = served.submit(4, **LONG)
        served.wait_for(job, "running")
        assert served.client.delete(job["links"]["self"]).json()["outcome"] == "cancelled"
        served.wait_for(served.submit(4, steps=3), "succeeded")
        assert served.job(job)["progress"]["done"] == 0
