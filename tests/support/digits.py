"""A small network trained on real images in seconds, as a bundle: what the tests of archives serve."""

from __future__ import annotations

import shutil
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from holdfast.bundle import WEIGHTS, Bundle, describe_files, write_manifest
from holdfast.manifest import Architecture, Dataset, InputSpec, ThreatModel, TrainingRun
from training.export import Facts, export_bundle
from training.models import Network, build

SHAPE = (1, 8, 8)


def digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Scikit-learn's scanned digits: images float32 (1797, 1, 8, 8) in [0, 1], and their labels."""
    bunch = load_digits()
    return (bunch.images / 16).astype(np.float32)[:, None], bunch.target.astype(np.int64)


def digit_pngs(count: int, size: int = 32) -> list[bytes]:
    """The last ``count`` digits as greyscale PNG files of ``size`` x ``size`` pixels."""
    files = []
    for image in digits()[0][-count:, 0]:
        picture = Image.fromarray(np.rint(image * 255).astype(np.uint8)).resize((size, size))
        buffer = BytesIO()
        picture.save(buffer, "PNG")
        files.append(buffer.getvalue())
    return files


def train_digits(seed: int = 0, epochs: int = 4) -> Network:
    """A small network that knows nine digits in ten."""
    torch.manual_seed(seed)
    network = build("small-cnn", classes=10, channels=1, size=SHAPE[1:], mean=[0.3], std=[0.38])
    images, labels = (torch.from_numpy(array) for array in digits())
    optimiser = torch.optim.Adam(network.parameters(), 2e-3)
    for _ in range(epochs):
        for batch in torch.randperm(1500).split(100):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(network(images[batch]), labels[batch]).backward()
            optimiser.step()
    return network.eval()


def make_digits_bundle(store: Path, network: Network, name: str = "digits", version: str = "1") -> Path:
    """Export ``network`` into the model store; return the bundle's directory."""
    facts = Facts(
        method="standard",
        recipe={},
        dataset=Dataset(name="digits", train_images=1500),
        classes=[str(digit) for digit in range(10)],
        input=InputSpec(channels=1, height=8, width=8),
        architecture=Architecture(name="small-cnn"),
        threat_model=ThreatModel(norm="linf", epsilon=0.0),
        training=TrainingRun(epochs=4, steps=60, seed=0, hardware="cpu", seconds=1.0),
    )
    images = digits()[0][:16]
    return export_bundle(
        network, name=name, version=version, store=store, facts=facts, calibration_images=images
    )


def copy_bundle(source: Path, store: Path, *, other_weights: bool = False, **changes: str) -> Path:
    """Copy a bundle into a store under another name or version, or with weights that differ in one bit."""
    manifest = Bundle.open(source).manifest.model_copy(update=changes)
    target = store / manifest.name / manifest.version
    shutil.copytree(source, target)
    if other_weights:
        weights = bytearray((target / WEIGHTS).read_bytes())
        weights[-1] ^= 1
        (target / WEIGHTS).write_bytes(weights)
    files = describe_files(target, list(manifest.files))
    write_manifest(target, manifest.model_copy(update={"files": files}))
    return target
