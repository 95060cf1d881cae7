"""The README's tour runs on the models that are shipped, and prints what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from support.gateway_process import running_gateway

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "clients" / "python"


def test_tour_prints_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    settings = {"HOLDFAST_JOBS_DATABASE": f"sqlite:///{tmp_path}/jobs.sqlite"}
    with running_gateway(ROOT / "model_store", **settings) as url:
        done = subprocess.run(
            [sys.executable, "-W", "error", str(CLIENT / "scripts" / "tour.py")],
            cwd=tmp_path,
            env={**os.environ, "HOLDFAST_URL": url, "PYTHONPATH": str(CLIENT / "src")},
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("as shown\n")
    assert (tmp_path / "adversarial.png").exists()
    assert (tmp_path / "result.zip").exists()
