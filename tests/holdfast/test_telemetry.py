"""What Holdfast builds on tells nobody of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

OPEN = """
import sys
from pathlib import Path
import holdfast
import onnxruntime
onnxruntime.InferenceSession(str(Path(sys.argv[1]) / "predict.onnx"))
"""

#: ONNX Runtime is quiet by itself where it takes itself for tested.
QUIET = ("ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS", "CI", "GITHUB_ACTIONS", "XDG_CACHE_HOME")


def kept_by_onnxruntime(bundle: Path, home: Path) -> list[Path]:
    """What ONNX Runtime writes down in a home of its own, to send it, when it opens a model there."""
    environment = {name: value for name, value in os.environ.items() if name not in QUIET}
    subprocess.run(
        [sys.executable, "-c", OPEN, bundle],
        env=environment | {"HOME": str(home), "OMP_NUM_THREADS": "1"},
        check=True,
    )
    return [path for path in home.rglob("*") if path.is_file()]


def test_onnxruntime_keeps_nothing_to_send(tiny_bundle: Path, tmp_path: Path) -> None:
    assert not kept_by_onnxruntime(tiny_bundle, tmp_path)
