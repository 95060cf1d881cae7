"""The solvers' benchmark: every side solves the same problem, and each is measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transport import DEFAULT, differentiate, logits, main, solvers


def test_all_solvers_find_about_the_same_distance_and_differentiate_it() -> None:
    clean, moved = logits(20, "cpu")
    distances = {name: float(solve(clean, moved)) for name, solve in solvers().items()}
    exact = distances["POT emd2 (exact)"]
    assert all(value == pytest.approx(exact, rel=0.03) for value in distances.values()), distances
    for solve in solvers().values():
        gradient = differentiate(solve, clean, moved)
        assert gradient.shape == moved.shape
        assert gradient.abs().sum() > 0


def test_it_measures_every_side_and_tells_what_it_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results.json"
    main([8], threads=0, device="cpu", rounds=2, json_path=results)
    seconds = json.loads(results.read_text())["seconds"]["8"]
    assert list(seconds) == list(solvers())
    assert all(len(values) == 2 for values in seconds.values())
    shown = capsys.readouterr().out
    assert DEFAULT in shown
    assert "The distance of 8 images" in shown
