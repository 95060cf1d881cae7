"""The Open Inference Protocol as KServe's and MLServer's own Python code speaks it, over a socket."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.gateway_process import running_gateway
from support.peers import ROOT, interpreter

SCRIPTS = ROOT / "tests" / "support" / "peers"


@pytest.fixture(scope="module")
def url(tiny_store: Path) -> Iterator[str]:
    with running_gateway(tiny_store) as started:
        yield started


def answers(peer: str, url: str) -> dict[str, Any]:
    command = [interpreter(peer), "-I", str(SCRIPTS / f"{peer}_client.py"), url, "tiny"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def expected(found: dict[str, Any]) -> np.ndarray[Any, Any]:
    return 10 * np.array(found["images"], dtype=np.float32).mean(axis=(2, 3))


@pytest.mark.slow
def test_kserves_client_is_understood_and_understands(url: str) -> None:
    found = answers("kserve", url)
    assert [found["live"], found["ready"], found["model_ready"]] == [True, True, True]
    assert found["other_ready"] is False
    for how in ("json", "bytes"):
        assert (found[how]["id"], found[how]["model"]) == ("mine", "tiny")
        np.testing.assert_allclose(found[how]["logits"], expected(found), atol=1e-4)
    assert "There is no model 'cat' here" in found["error"]
    assert "404" in found["error"]


@pytest.mark.slow
def test_mlservers_codec_and_types_are_understood_and_understand(url: str) -> None:
    found = answers("mlserver", url)
    assert (found["server"], found["index"], found["input"]) == ("holdfast", ["tiny"], [-1, 3, 8, 8])
    assert found["id"] == "mine"
    np.testing.assert_allclose(np.reshape(found["logits"], (5, 3)), expected(found), atol=1e-4)
    best = np.argmax(expected(found), axis=1)
    assert found["label"] == [["red", "green", "blue"][index] for index in best]
