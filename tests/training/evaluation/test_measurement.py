"""What one measurement makes of an attack's result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.bench import OneOracle
from support.linear import Linear

from holdfast.manifest import ThreatModel
from training.data import Split
from training.evaluation.line import Line
from training.evaluation.measurement import Measurement

SHAPE, CLASSES = (1, 4, 4), 3
STORED = np.random.default_rng(0).integers(0, 256, (20, *SHAPE), dtype=np.uint8)
KNOWN = STORED.astype(np.float32) / np.float32(255)


class Breaking(Linear):
    """Answers NaN to all but the images that it knows."""

    def logits(self, images: np.ndarray) -> np.ndarray:
        logits = super().logits(images)
        logits[[not (image == KNOWN).all((1, 2, 3)).any() for image in images]] = np.nan
        return logits


@pytest.mark.parametrize("text", ["pgd-5", "apgd-ce-5", "square-20"])
def test_an_image_that_is_answered_with_nan_counts_as_held(text: str) -> None:
    model: Any = Breaking.random(SHAPE, CLASSES)
    labels = model.logits(KNOWN).argmax(1)
    assert (labels > 0).any(), "of which argmax would say that NaN is class 0"
    line = Line.parse(text, ThreatModel(norm="linf", epsilon=0.1))
    found = OneOracle(model).measure(Measurement(Path("nowhere"), "none", line), Split(STORED, labels))
    assert "not_a_number" in [flag.name for flag in found.flags()]
    assert not found.success.any()
    assert found.right.all()
    assert found.accuracy == 1
