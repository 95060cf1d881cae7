"""Whatever is sent to it, the gateway answers as its own description says, and never that it failed.

schemathesis makes requests from the description that the running gateway gives of itself, with every check
that it has. ``FUZZ_CASES`` asks for more of them.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from support.gateway_process import running_gateway
from support.tiny import make_tiny_bundle, solid_png

HERE = Path(__file__).parent
CASES = int(os.environ.get("FUZZ_CASES", "5000"))


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_every_answer_is_as_the_description_says(tmp_path: Path) -> None:
    for version in ("1", "2"):
        make_tiny_bundle(tmp_path, version=version)
    with running_gateway(tmp_path, HOLDFAST_LOG_LEVEL="warning") as url:
        operations = [
            method for path in httpx.get(f"{url}/openapi.json").json()["paths"].values() for method in path
        ]
        # Beside its examples an operation has the cases of the other phases. Some have few cases in all: more
        # of them come with other seeds.
        examples = min(200, -(-CASES // len(operations) // 3))
        cases, seed = 0, 0
        while cases < CASES:
            seed += 1
            cases += fuzz(url, tmp_path, seed, examples)
        # It serves on as if nothing had been.
        answer = httpx.post(
            f"{url}/v1/models/tiny/versions/1/classify",
            content=solid_png("red"),
            headers={"Content-Type": "image/png"},
        )
        assert answer.json()["predictions"][0]["label"] == "red"
    sys.stdout.write(f"{cases} cases with {seed} seeds\n")


def fuzz(url: str, directory: Path, seed: int, examples: int) -> int:
    """Run schemathesis once, and say with how many cases."""
    done = subprocess.run(
        [
            *(sys.executable, "-W", "ignore", "-m", "schemathesis.cli"),
            *("--config-file", str(HERE / "schemathesis.toml")),
            *("run", f"{url}/openapi.json", "--checks", "all", "--seed", str(seed), "--workers", "1"),
            *("--max-examples", str(examples), "--continue-on-failure"),
            *("--generation-database", "none", "--warnings", "off", "--report-dir", str(directory / "r")),
        ],
        env=os.environ
        | {"SCHEMATHESIS_HOOKS": "fuzz.hooks", "PYTHONPATH": str(HERE.parent), "NO_COLOR": "1"},
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    generated = re.search(r"(\d+) generated", done.stdout)
    assert generated is not None, done.stdout[-2000:]
    return int(generated[1])
