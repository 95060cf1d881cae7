"""Programs of others that speak the Open Inference Protocol, each in an environment of its own.

``scripts/peer-env NAME`` makes ``.venv-NAME``; a variable names an interpreter that is elsewhere. Their pins
cannot be had beside ours, and where an environment is missing its tests are skipped, and say so.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def interpreter(name: str) -> str:
    """The Python of a peer, ``mlserver`` or ``kserve``; skips the test where there is none."""
    path = os.environ.get(f"{name.upper()}_PYTHON") or str(ROOT / f".venv-{name}" / "bin" / "python")
    if not Path(path).is_file():
        pytest.skip(f"there is no {name} here: scripts/peer-env {name} makes its environment")
    return path
