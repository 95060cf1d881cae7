"""The gradient graph's benchmark: it measures the two graphs of a bundle, and says what it found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from gradient_graph import main

from holdfast.bundle import GRADIENT, PREDICT


def test_a_gradient_is_measured_against_a_prediction(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results.json"
    main("small-cnn", [2], size=8, channels=1, loss="cw", threads=1, rounds=3, json_path=results)
    content = json.loads(results.read_text())
    seconds = content["seconds"]["2"]
    assert {name: len(values) for name, values in seconds.items()} == {PREDICT: 3, GRADIENT: 3}
    pairs = zip(seconds[GRADIENT], seconds[PREDICT], strict=True)
    assert content["ratio"]["2"]["values"] == [above / below for above, below in pairs]
    assert "small-cnn on images 1x8x8, 10 classes, loss cw" in capsys.readouterr().out
