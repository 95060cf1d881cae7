"""The model and the image files that the servers are measured with, and the answers that are right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from http_load import LoadError, post
from numpy.typing import NDArray

from holdfast.bundle import Bundle, ModelStore
from holdfast.console import format_size
from holdfast.errors import UsageError
from holdfast.figures import most_robust
from holdfast.probabilities import probabilities
from serving.backends.onnx import OnnxBackend
from serving.settings import load_settings

MEDIA_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}

#: Two classes nearer than this may change places with the batch's size, and then no answer is the right one.
_TIE = 1e-3
#: How far a probability may be from the session's: batches of other sizes round otherwise.
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Images:
    """The image files that are classified, and what the session says of each.

    Attributes:
        files: Where they are.
        contents: Their bytes.
        expected: The class that the session gives each.
        chances: The probabilities that it gives each: (images, classes).
    """

    files: Sequence[Path]
    contents: Sequence[bytes]
    expected: Sequence[int]
    chances: NDArray[np.float64]

    def requests(self, path: str, host: str) -> list[bytes]:
        """A request for each image, the file being its body."""
        return [
            post(path, content, MEDIA_TYPES[file.suffix.lower()], host)
            for file, content in zip(self.files, self.contents, strict=True)
        ]

    def check_class(self, server: str, number: int, found: int) -> None:
        """Hold a class against the session's.

        Raises:
            LoadError: It is another one.
        """
        if found != self.expected[number]:
            raise LoadError(
                f"{server} says class {found} for {self.files[number]} where the session says "
                f"{self.expected[number]}."
            )

    def check_chances(self, server: str, number: int, found: Sequence[float]) -> None:
        """Hold the probabilities of all classes, in the model's order, against the session's.

        Raises:
            LoadError: They differ.
        """
        expected = self.chances[number]
        if len(found) != len(expected) or not np.abs(np.asarray(found) - expected).max() <= _TOLERANCE:
            raise LoadError(
                f"{server} gives {self.files[number]} the probabilities {list(found)[:5]} …, and the session "
                f"{expected[:5].round(4).tolist()} …"
            )

    def describe(self) -> str:
        """How many and how large."""
        sizes = [len(content) for content in self.contents]
        return f"{len(sizes)} image files of {format_size(min(sizes))} to {format_size(max(sizes))}"


def find_bundle(store: Path, model: str | None) -> Bundle:
    """The bundle to measure; every side is to serve the very same.

    Args:
        store: The model store.
        model: NAME or NAME/VERSION; by default the most robust one in the store.

    Raises:
        BundleError: There is none, or it is damaged.
        UsageError: The store is empty.
    """
    models = ModelStore(store)
    if model is None:
        names = models.names()
        if not names:
            raise UsageError(f"{store} has no models.", hint="Name another store: --store")
        model = most_robust([models.open(name, verify=False).manifest for name in names]).name
    name, _, version = model.partition("/")
    return models.open(name, version or None)


def find_images(directory: Path) -> list[Path]:
    """The image files of a directory, sorted.

    Raises:
        UsageError: There is none.
    """
    found = directory.iterdir() if directory.is_dir() else ()
    files = sorted(file for file in found if file.suffix.lower() in MEDIA_TYPES)
    if not files:
        raise UsageError(f"There are no image files in {directory}.", hint="Name a directory: --images")
    return files


def expect(files: Sequence[Path], logits: Sequence[Sequence[float]], temperature: float = 1.0) -> Images:
    """The images with what the session says of each.

    Args:
        files: The images.
        logits: What the session answers for each.
        temperature: The model's, of its probabilities.

    Raises:
        UsageError: An image has no class: its two best are as good as equal.
    """
    expected = []
    for file, values in zip(files, logits, strict=True):
        second, first = np.sort(values)[-2:]
        if first - second < _TIE:
            raise UsageError(f"The model cannot decide on {file}: take that image away.")
        expected.append(int(np.argmax(values)))
    chances = probabilities(np.asarray(logits, dtype=np.float64), temperature)
    return Images(files, [file.read_bytes() for file in files], expected, chances)


def temperature(bundle: Bundle) -> float:
    """What the model's logits are divided by before they become probabilities."""
    calibration = bundle.manifest.calibration
    return 1.0 if calibration is None else calibration.temperature


def session_threads(bundle: Bundle) -> int:
    """Threads of the session that the gateway opens here."""
    backend = OnnxBackend(ModelStore(bundle.root.parent.parent), threads=load_settings().threads)
    return backend.threads * backend.workers


def describe_model(bundle: Bundle) -> str:
    """Its architecture and input."""
    shape = "x".join(map(str, bundle.manifest.input.shape))
    return f"{bundle.manifest.architecture.name} on {shape}"
