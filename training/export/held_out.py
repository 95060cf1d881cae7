"""What an export measures on held-out images: the temperature, and the manifold's thresholds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from holdfast.manifest import Calibration, Manifold
from training.calibration import FALSE_POSITIVE_RATES, calibrate, choose_thresholds
from training.export.facts import Facts
from training.export.verify import open_graph

#: Images in one run of the graph.
_BATCH = 100


@dataclass(frozen=True)
class HeldOut:
    """Real images that the network was not trained on.

    Attributes:
        images: (n, c, h, w), float32 in [0, 1]; in no order that matters, n >= 20.
        labels: (n,).
    """

    images: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Found:
    """Sections of a manifest; None where there was nothing to measure them on."""

    calibration: Calibration | None = None
    manifold: Manifold | None = None


def measure(
    predict: Path,
    held_out: HeldOut | None,
    facts: Facts,
    evidence: Literal["discriminator", "centre"] | None,
) -> Found:
    """Run the exported graph on held-out images.

    The first half of them chooses the temperature and the thresholds; the second says what the temperature
    brings.

    Args:
        predict: ``predict.onnx``.
        held_out: The images; None for nothing to be measured.
        facts: For the discriminator's name.
        evidence: What kind of manifold evidence the graph gives.
    """
    if held_out is None:
        return Found()
    session = open_graph(predict)
    parts = [
        session.run(None, {"images": held_out.images[start : start + _BATCH]})
        for start in range(0, len(held_out.images), _BATCH)
    ]
    logits = np.concatenate([part[0] for part in parts])
    calibration = calibrate(logits, held_out.labels)
    if evidence is None:
        return Found(calibration)
    scores = np.concatenate([part[1] for part in parts])[: calibration.images]
    sign = 1 if evidence == "discriminator" else -1
    thresholds = choose_thresholds(scores, sign)
    manifold = Manifold(
        evidence=evidence,
        discriminator=facts.discriminator,
        uncertain=thresholds.uncertain,
        suspect=thresholds.suspect,
        false_positive_rates=FALSE_POSITIVE_RATES,
        images=len(scores),
    )
    return Found(calibration, manifold)
