"""What every peer does with an image: the very work that the gateway does, with the same functions of
Holdfast.

A peer's app imports this from beside itself, in an environment of its own; ``PYTHONPATH`` brings
``holdfast``. How it is to run stands in the environment, which reaches whatever processes its server
starts.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.bundle import PREDICT, Bundle
from holdfast.images import decode
from holdfast.probabilities import probabilities
from holdfast.sessions import open_session


@dataclass(frozen=True)
class Plan:
    """How a peer is to run.

    Attributes:
        bundle: The bundle's directory.
        port: On loopback.
        workers: Processes that run the model; 0 is the server's own, where it can do that.
        threads: Of the session in each.
        delay: Seconds that a request may be held back for others to join its batch.
        max_batch: Images in a batch at most.
    """

    bundle: Path
    port: int
    workers: int
    threads: int
    delay: float
    max_batch: int

    @classmethod
    def from_environment(cls) -> Plan:
        """The plan that :meth:`as_environment` put there."""
        given = {name: os.environ[f"PEER_{name.upper()}"] for name in cls.__dataclass_fields__}
        return cls(
            bundle=Path(given["bundle"]),
            port=int(given["port"]),
            workers=int(given["workers"]),
            threads=int(given["threads"]),
            delay=float(given["delay"]),
            max_batch=int(given["max_batch"]),
        )

    def as_environment(self) -> dict[str, str]:
        """Environment variables that say it."""
        return {f"PEER_{name.upper()}": str(getattr(self, name)) for name in self.__dataclass_fields__}


class Work:
    """The model of a bundle, opened as the gateway's embedded backend opens it.

    Args:
        plan: Which bundle, and how many threads.
    """

    def __init__(self, plan: Plan) -> None:
        bundle = Bundle.open(plan.bundle)
        calibration = bundle.manifest.calibration
        self._temperature = 1.0 if calibration is None else calibration.temperature
        self._classes = bundle.manifest.classes
        self._spec = bundle.manifest.input
        self._session = open_session(bundle, PREDICT, threads=plan.threads)

    def decode(self, data: bytes) -> NDArray[np.float32]:
        """An image file's bytes as float32 (channels, height, width) in [0, 1]."""
        return decode(data, self._spec)

    def classify(self, images: Sequence[NDArray[np.float32]]) -> list[dict[str, Any]]:
        """Run the model on decoded images together; one answer for each."""
        (logits,) = self._session.run(["logits"], {"images": np.stack(images)})
        rows = probabilities(logits, self._temperature)
        return [
            {
                "label": self._classes[best],
                "class_index": best,
                "probabilities": dict(zip(self._classes, row, strict=True)),
            }
            for best, row in zip(rows.argmax(axis=1).tolist(), rows.round(6).tolist(), strict=True)
        ]
