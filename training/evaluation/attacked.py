"""Features of images under attack, kept batch by batch: what was looked at is not attacked again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from holdfast.attacks import Oracle, attack
from holdfast.bundle import WEIGHTS, Bundle
from holdfast.version import __version__
from training.analysis.features import Features, features_of
from training.evaluation.line import Line
from training.evaluation.runner import Loaded
from training.models import Network

#: Called with how many more images are done.
Progress = Callable[[int], None]


@dataclass(frozen=True)
class AttackedFeatures:
    """Finds features of one bundle's images under attack.

    Attributes:
        bundle: Under attack.
        network: The same, rebuilt.
        oracle: The bundle's graphs, which images are attacked on.
        loaded: The images.
        ledgers: Where features are kept, a directory for each bundle.
        batch_size: Images attacked at a time, and lost where a run is killed.
        again: Attack anew what is known.
    """

    bundle: Bundle
    network: Network
    oracle: Oracle
    loaded: Loaded
    ledgers: Path
    batch_size: int = 100
    again: bool = False

    def find(self, line: Line, progress: Progress = lambda _: None) -> Features:
        """Features of all images, clean where the line is no attack.

        Args:
            line: An attack on the network itself.
            progress: See :data:`Progress`; what is known already is told at once.
        """
        count = len(self.loaded.split)
        spans = [(at, min(at + self.batch_size, count)) for at in range(0, count, self.batch_size)]
        parts = []
        for start, stop in spans:
            parts.append(self._batch(line, start, stop))
            progress(stop - start)
        return Features(
            np.concatenate([part.vectors for part in parts]), np.concatenate([part.logits for part in parts])
        )

    def _batch(self, line: Line, start: int, stop: int) -> Features:
        split = self.loaded.split.take(slice(start, stop))
        images = split.images.astype(np.float32) / np.float32(255)
        if line.parameters is None:
            return features_of(self.network, images)
        path = self._path(line, start, stop)
        known = None if self.again else _read(path, stop - start)
        if known is not None:
            return known
        moved = attack(self.oracle, images, split.labels, line.parameters).images
        found = features_of(self.network, np.asarray(moved, dtype=np.float32))
        _write(path, found)
        return found

    def _path(self, line: Line, start: int, stop: int) -> Path:
        parameters = None if line.parameters is None else line.parameters.model_dump(mode="json")
        subject = {
            "bundle": self.bundle.manifest.files[WEIGHTS].sha256,
            "images": [self.loaded.digest, start, stop],
            "attack": type(line.parameters).__name__,
            "parameters": parameters,
            "version": __version__,
        }
        text = json.dumps(subject, sort_keys=True)
        name = f"features-{hashlib.sha256(text.encode()).hexdigest()[:20]}.npz"
        return self.ledgers / f"{self.bundle.name}-{self.bundle.version}" / name


def _read(path: Path, images: int) -> Features | None:
    """What was kept; None if nothing was, or only a part of it."""
    torn = (OSError, ValueError, KeyError, zipfile.BadZipFile)
    with contextlib.suppress(*torn), path.open("rb") as file, np.load(file) as kept:
        found = Features(kept["vectors"], kept["logits"])
        if len(found.vectors) == len(found.logits) == images:
            return found
    return None


def _write(path: Path, found: Features) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        np.savez(file, vectors=found.vectors, logits=found.logits)
    temporary.replace(path)
