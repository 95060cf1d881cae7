"""The benchmark of IMT's graph: it measures three sides, and says what it found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from imt_graph import main

from holdfast.bundle import DEFENDED, PREDICT


def test_the_graph_is_measured_against_a_prediction_and_against_torch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results.json"
    main("small-cnn", "mlp-1-8", batches=[2], size=8, channels=1, threads=1, rounds=3, json_path=results)
    content = json.loads(results.read_text())
    seconds = content["seconds"]["2"]
    assert {name: len(values) for name, values in seconds.items()} == {
        PREDICT: 3,
        DEFENDED["imt+"]: 3,
        "torch, eager": 3,
    }
    pairs = zip(seconds[DEFENDED["imt+"]], seconds[PREDICT], strict=True)
    assert content["over_prediction"]["2"]["values"] == [above / below for above, below in pairs]
    assert "discriminator mlp-1-8 of the features" in capsys.readouterr().out
