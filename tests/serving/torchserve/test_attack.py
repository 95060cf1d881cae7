"""Attacks through a real TorchServe, by its workers for them or, where it has none, by the gateway's own."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from support.digits import digit_pngs
from support.gateway_process import running_gateway

from holdfast.attacking.remote import SUFFIX
from serving.torchserve.config import LaunchSettings
from serving.torchserve.java import find_java
from serving.torchserve.launch import TorchServe, free_port
from serving.torchserve.models import find_archives

pytestmark = [pytest.mark.torchserve, pytest.mark.slow]

PATIENCE = 90.0
PNG = {"Content-Type": "image/png"}


@pytest.fixture(scope="module")
def attacking(archived_store: Path) -> Iterator[TorchServe]:
    """A TorchServe with one worker that classifies and one that attacks."""
    settings = LaunchSettings(port=free_port(), metrics_port=free_port(), heap="256m", attack_workers=1)
    with TorchServe(find_archives(archived_store, ["judged"]), settings, find_java()) as server:
        server.start()
        server.wait_ready()
        yield server


@pytest.fixture(scope="module")
def client(attacking: TorchServe, archived_store: Path) -> Iterator[httpx.Client]:
    settings = {
        "HOLDFAST_BACKEND": "torchserve",
        "HOLDFAST_TORCHSERVE_URL": attacking.url,
        "HOLDFAST_ATTACK_BUDGET": "1e9",
        "HOLDFAST_ATTACK_DEADLINE": "12",
    }
    with (
        running_gateway(archived_store, **settings) as url,
        httpx.Client(base_url=url, timeout=PATIENCE) as made,
    ):
        yield made


def ask(client: httpx.Client, query: str) -> dict[str, Any]:
    response = client.post(f"/v1/models/judged/attack?{query}", content=digit_pngs(1)[0], headers=PNG)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def attack_workers(server: TorchServe) -> list[psutil.Process]:
    """Those that stand back."""
    family = psutil.Process(server.pid).children(recursive=True)
    return [process for process in family if process.nice() >= 9]


@pytest.mark.parametrize("defence", ["none", "imt", "imt%2B"])
def test_torchserve_attacks_through_every_defence(client: httpx.Client, defence: str) -> None:
    answer = ask(client, f"epsilon=0.25&steps=10&defence={defence}&trace=4&float=true")
    assert answer["counts"]["backwards"] > 0
    assert list(answer["predictions"]) == ["none", "imt", "imt+"]
    asked = defence.replace("%2B", "+")
    assert answer["defence"] == asked
    after = answer["predictions"][asked]["after"]
    assert (after["label"] != answer["label"]) == answer["success"]
    assert answer["reached"]["linf"] <= 0.25 + 1e-6
    assert answer["trace"]["steps"]


def test_its_workers_for_attacks_stand_back_behind_those_that_classify(
    client: httpx.Client, attacking: TorchServe
) -> None:
    ask(client, "steps=1")
    assert [model.name for model in attacking.models] == ["judged", f"judged{SUFFIX}"]
    if sys.platform == "linux":
        assert len(attack_workers(attacking)) == 1
    assert not [
        child
        for child in psutil.Process(os.getpid()).children()
        if "attacking.worker" in str(child.cmdline())
    ]


def test_classification_goes_on_while_an_attack_runs_into_its_deadline(client: httpx.Client) -> None:
    found: list[httpx.Response] = []
    query = "epsilon=0.0001&steps=10000&restarts=100&stop_at_success=false"
    caller = threading.Thread(
        target=lambda: found.append(
            client.post(f"/v1/models/judged/attack?{query}", content=digit_pngs(1)[0], headers=PNG)
        )
    )
    caller.start()
    time.sleep(1)
    began = time.monotonic()
    response = client.post("/v1/models/judged/classify", content=digit_pngs(1)[0], headers=PNG)
    assert response.status_code == 200
    assert time.monotonic() - began < 10
    caller.join(PATIENCE)
    assert found[0].status_code == 504
    ask(client, "steps=1")  # it has stopped by itself


def test_the_gateways_own_workers_attack_where_torchserve_has_none(
    torchserve: TorchServe, archived_store: Path
) -> None:
    settings = {"HOLDFAST_BACKEND": "torchserve", "HOLDFAST_TORCHSERVE_URL": torchserve.url}
    with (
        running_gateway(archived_store, **settings) as url,
        httpx.Client(base_url=url, timeout=PATIENCE) as made,
    ):
        answer = ask(made, "epsilon=0.25&steps=10")
        assert answer["counts"]["backwards"] > 0
