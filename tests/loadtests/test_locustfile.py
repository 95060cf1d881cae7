"""The load test drives a real gateway, and fails when the gateway does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.gateway_process import running_gateway

LOCUSTFILE = Path(__file__).parents[2] / "loadtests" / "locustfile.py"


def locust(url: str, model: str) -> subprocess.CompletedProcess[str]:
    options = ["--headless", "-u", "4", "-r", "4", "-t", "3s", "--only-summary", "--exit-code-on-error", "3"]
    return subprocess.run(
        [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--host", url, *options],
        env={**os.environ, "HOLDFAST_MODEL": model},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(("model", "status"), [("tiny", 0), ("nobody", 3)])
def test_load_passes_on_a_model_that_answers_and_fails_on_one_that_does_not(
    tiny_store: Path, model: str, status: int
) -> None:
    with running_gateway(tiny_store) as url:
        done = locust(url, model)
    assert done.returncode == status, done.stderr[-2000:]
    assert "classify" in done.stderr
