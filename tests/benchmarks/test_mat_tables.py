"""The benchmark of MAT's tables: a short run prints what it measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "mat_tables.py"


def test_it_measures_networks_with_and_without_centres(tmp_path: Path) -> None:
    results = tmp_path / "tables.json"
    command = [sys.executable, str(SCRIPT), "--row", "standard", "--row", "MAT − −", "--seeds", "1"]
    command += ["--set", "epochs=1", "--json", str(results)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert "adaptive" in done.stdout
    content = json.loads(results.read_text())
    plain, centred = (content["accuracy"][name][0] for name in ("standard", "MAT − −"))
    assert set(centred) - set(plain) == {"adaptive"}
    assert plain["PGD on h"] == plain["PGD"]
    for found in (plain, centred):
        attacked = [value for name, value in found.items() if name != "clean"]
        assert found["worst"] == min(attacked) <= found["clean"]
    shape = content["shape"]["MAT − −"][0]
    assert shape["cos, clean"] == pytest.approx(np.clip(shape["cos, clean"], -1, 1))
    assert 0 <= shape["match, PGD"] <= 100
