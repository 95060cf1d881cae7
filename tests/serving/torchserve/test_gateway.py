"""The gateway in front of TorchServe, over real sockets; test_faults.py has the bad times."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from support.digits import digit_pngs
from support.gateway_process import running_gateway

from serving.torchserve.launch import TorchServe

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
