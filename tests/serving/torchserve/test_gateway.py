"""The gateway in front of TorchServe, over real sockets: what a client sees, in good times and bad."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from support.digits import digit_pngs
from support.gateway_process import running_gateway

from serving.torchserve.config import LaunchSettings
from serving.torchserve.errors import TorchServeError
from serving.torchserve.java import find_java
from serving.torchserve.launch import TorchServe, free_port
from serving.torchserve.models import find_archives

pytestmark = [pytest.mark.torchserve, pytest.mark.slow]

PATIENCE = 90.0
DEADLINE = 3.0
PNG = {"Content-Type": "image/png"}


@contextmanager
def gateway(store: Path, backend: str, torchserve_url: str) -> Iterator[httpx.Client]:
    """`holdfast serve` in a process of its own, ready; a client of it."""
    settings = {
        "HOLDFAST_BACKEND": backend,
        "HOLDFAST_TORCHSERVE_URL": torchserve_url,
        "HOLDFAST_DEADLINE": str(DEADLINE),
        "HOLDFAST_THREADS": "1",
    }
    with running_gateway(store, **settings) as url, httpx.Client(base_url=url, timeout=PATIENCE) as client:
        yield client


def wait_for(client: httpx.Client, status: int) -> None:
    """Wait until /readyz answers with a status."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            if client.get("/readyz").status_code == status:
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline, f"/readyz never answered {status}"
        time.sleep(0.1)


def classify(client: httpx.Client, png: bytes) -> httpx.Response:
    return client.post("/v1/models/digits/classify", content=png, headers=PNG)


def test_it_answers_what_the_embedded_backend_answers(torchserve: TorchServe, archived_store: Path) -> None:
    pngs = digit_pngs(20)
    answers = []
    for backend in ("torchserve", "onnxruntime"):
        with gateway(archived_store, backend, torchserve.url) as client:
            responses = [classify(client, png) for png in pngs]
            assert {response.status_code for response in responses} == {200}
            answers.append([response.json()["predictions"][0] for response in responses])
    for remote, embedded in zip(*answers, strict=True):
        assert remote["label"] == embedded["label"]
        assert remote["probabilities"] == pytest.approx(embedded["probabilities"], abs=1e-4)


def test_it_answers_503_while_a_killed_worker_comes_back(
    torchserve: TorchServe, archived_store: Path
) -> None:
    png = digit_pngs(1)[0]
    with gateway(archived_store, "torchserve", torchserve.url) as client:
        for child in psutil.Process(torchserve.pid).children(recursive=True):
            child.kill()
        deadline = time.monotonic() + PATIENCE
        statuses = set()
        while 200 not in statuses:
            began = time.monotonic()
            response = classify(client, png)
            assert time.monotonic() - began < 3 * DEADLINE
            statuses.add(response.status_code)
            if response.status_code != 200:
                assert response.headers["content-type"] == "application/problem+json"
                assert response.status_code in (503, 504)
            assert time.monotonic() < deadline
        wait_for(client, 200)


def test_it_answers_503_when_torchserve_is_killed_whose_workers_then_go_too(archived_store: Path) -> None:
    png = digit_pngs(1)[0]
    settings = LaunchSettings(port=free_port(), metrics_port=free_port(), heap="256m", attack_workers=0)
    with TorchServe(find_archives(archived_store), settings, find_java()) as server:
        server.start()
        server.wait_ready()
        everyone = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
        assert len(everyone) == 1 + len(server.models)
        with gateway(archived_store, "torchserve", server.url) as client:
            assert classify(client, png).status_code == 200
            os.kill(server.pid, signal.SIGKILL)
            began = time.monotonic()
            response = classify(client, png)
            assert time.monotonic() - began < 3 * DEADLINE
            assert response.status_code == 503
            assert response.headers["content-type"] == "application/problem+json"
            assert response.json()["type"] == "/problems#backend-unavailable"
            assert int(response.headers["Retry-After"]) >= 1
            wait_for(client, 503)
            assert client.get("/livez").status_code == 200
        with pytest.raises(TorchServeError, match="ended by itself with exit status -9"):
            server.check()
    assert [p for p in everyone if p.is_running() and p.status() != psutil.STATUS_ZOMBIE] == []
