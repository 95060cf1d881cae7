"""The benchmark of defences at inference: every attack behind every defence, and the worst cases."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from inference_defence import main

from holdfast.errors import UsageError


def test_every_defence_is_attacked_by_who_knows_it_and_by_who_does_not(
    defended_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results.json"
    main("judged", images=24, steps=3, queries=12, store=defended_store, json_path=results)
    content = json.loads(results.read_text())
    accuracy, worst = content["accuracy"], content["worst"]
    assert set(accuracy) == {"none", "imt", "imt+"}
    assert "PGD-3, BPDA" in accuracy["imt"]
    assert "PGD-3, BPDA" not in accuracy["none"]
    for defence, found in accuracy.items():
        unknowing, knowing = (kind[0] for kind in worst[defence].values())
        assert knowing <= unknowing <= found["clean"]
        assert knowing <= min(found.values())
    assert "end to end" in capsys.readouterr().out


def test_a_model_without_such_a_defence_is_refused(defended_store: Path) -> None:
    with pytest.raises(UsageError, match="does not offer imt"):
        main("centred", images=4, store=defended_store)
