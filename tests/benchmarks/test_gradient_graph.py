"""The gradient graph's benchmark: it measures the two graphs of a bundle, and says what it found."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "gradient_graph.py"


def test_a_gradient_is_measured_against_a_prediction(tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    arguments = [
        "small-cnn",
        "--size",
        "8",
        "--channels",
        "1",
        "--batch",
        "2",
        "--rounds",
        "3",
        "--json",
        results,
    ]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", SCRIPT, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    content = json.loads(results.read_text())
    seconds = content["seconds"]["2"]
    assert {name: len(values) for name, values in seconds.items()} == {"predict.onnx": 3, "gradient.onnx": 3}
    pairs = zip(seconds["gradient.onnx"], seconds["predict.onnx"], strict=True)
    assert content["ratio"]["2"]["values"] == [above / below for above, below in pairs]
    assert "small-cnn on images 1x8x8" in done.stdout
