"""The benchmark of IMT's exactness: it compares graph, torch and the exact result on both kinds of images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from imt_exactness import Agreement, main

from holdfast.errors import UsageError


def test_the_graph_is_held_against_torch_and_the_exact_result(
    defended_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results.json"
    main("judged", 40, store=defended_store, threads=1, json_path=results)
    agreements = json.loads(results.read_text())["agreements"]
    rows = {(one["defence"], one["images"], one["compared"]): one for one in agreements}
    assert len(rows) == 2 * 2 * 3
    for one in agreements:
        assert one["images"] in ("real", "adversarial")
        assert one["median"] <= 1e-4
    assert "small-cnn with a discriminator mlp-1-16" in capsys.readouterr().out


def test_an_agreement_is_counted_by_image() -> None:
    expected = np.array([[0.0, 1.0], [0.0, 1.0], [0.5, 0.5001]])
    found = expected + np.array([[0, 5e-5], [0, -1.5], [0, 0]])
    agreement = Agreement.of(found, expected)
    assert agreement.within == pytest.approx(2 / 3)
    assert agreement.largest == pytest.approx(1.5)
    assert agreement.top1 == pytest.approx(2 / 3)
    assert agreement.clear == 1


def test_a_bundle_without_imt_is_refused(defended_store: Path) -> None:
    with pytest.raises(UsageError, match="does not offer imt"):
        main("centred", 2, store=defended_store)
