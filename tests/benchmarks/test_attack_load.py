"""The benchmark of classification beside attacks: run for a moment on a tiny model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from attack_load import ALONE, ATTACKED, Measured, make_sheet
from paired import Spread
from support.tiny import solid_png

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "attack_load.py"


def benchmark(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the script as a user does."""
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.slow
def test_both_sides_are_measured_in_turn_and_the_attacks_are_real(tiny_store: Path, tmp_path: Path) -> None:
    for number, colour in enumerate([(153, 148, 0), "blue"]):
        (tmp_path / f"{number}.png").write_bytes(solid_png(colour))
    path = tmp_path / "values.json"
    settings = ("--seconds", "0.3", "--rounds", "2", "--callers", "2", "--attackers", "3", "--steps", "2000")
    done = benchmark(
        "--store", tiny_store, "--model", "tiny", "--images", tmp_path, *settings, "--json", path
    )
    assert done.returncode == 0, done.stderr
    content = json.loads(path.read_text())
    alone, attacked = (content["measurements"][side] for side in (ALONE, ATTACKED))
    assert len(alone) == len(attacked) == 2
    for quiet, besieged in zip(alone, attacked, strict=True):
        assert quiet["attacks"] == 0
        assert besieged["busy"] > quiet["busy"]
        assert 0 < besieged["p50"] <= besieged["p99"]
    ratios = [loud["p99"] / quiet["p99"] for loud, quiet in zip(attacked, alone, strict=True)]
    assert content["p99_ratio"]["values"] == pytest.approx(ratios)
    assert content["kept"] == (content["p99_ratio"]["median"] <= content["promise"])
    assert "Classification beside attacks" in done.stdout
    assert "Machine: " in done.stdout


@pytest.mark.parametrize(("ratio", "verdict"), [(1.99, "and kept"), (2.01, "and not kept")])
def test_the_table_says_whether_the_promise_is_kept(ratio: float, verdict: str) -> None:
    measured = {
        ALONE: [Measured(100, 0.01, 0.02, 0, 0)],
        ATTACKED: [Measured(90, 0.01, 0.02 * ratio, 7, 0.9)],
    }
    sheet = make_sheet(measured, Spread.of([ratio]))
    assert verdict in sheet.note
    assert [row[0] for row in sheet.rows] == [ALONE, ATTACKED]


def test_what_cannot_be_measured_is_said_without_a_trace(tmp_path: Path, tiny_store: Path) -> None:
    done = benchmark("--store", tiny_store, "--model", "tiny", "--images", tmp_path)
    assert done.returncode == 2
    assert "There are no PNG files" in done.stderr
    assert "Traceback" not in done.stderr
