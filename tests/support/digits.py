"""A small network trained on real images in seconds, as a bundle: what the tests of archives serve."""

from __future__ import annotations

import warnings
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_digits

from holdfast.bundle import CARD, GRADIENT, PREDICT, WEIGHTS, describe_files, write_manifest
from holdfast.manifest import (
    Architecture,
    Dataset,
    InputSpec,
    Manifest,
    Parity,
    ThreatModel,
    TrainingRun,
)
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


def make_digits_bundle(
    store: Path, network: Network, name: str = "digits", version: str = "1", architecture: str = "small-cnn"
) -> Path:
    """Write a bundle of ``network`` into the model store; return its directory."""
    directory = store / name / version
    directory.mkdir(parents=True)
    tensors = {key: value.detach().contiguous() for key, value in network.state_dict().items()}
    save_file(tensors, directory / WEIGHTS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.rand(2, *SHAPE),),
            directory / PREDICT,
            input_names=["images"],
            output_names=["logits"],
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            external_data=False,
            verbose=False,
        )
    (directory / GRADIENT).write_bytes((directory / PREDICT).read_bytes())
    (directory / CARD).write_text(f"# {name}\n", encoding="utf-8")
    manifest = Manifest(
        name=name,
        version=version,
        created=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        method="standard",
        recipe={},
        dataset=Dataset(name="digits", train_images=1500),
        classes=[str(digit) for digit in range(10)],
        input=InputSpec(channels=1, height=8, width=8),
        architecture=Architecture(name=architecture),
        threat_model=ThreatModel(norm="linf", epsilon=0.0),
        training=TrainingRun(epochs=4, steps=60, seed=0, hardware="cpu", seconds=1.0),
        parity=Parity(images=2, batch_sizes=[2], logits=0.0, gradient=0.0, gradient_sign=1.0),
        libraries={"torch": torch.__version__},
        files=describe_files(directory, [PREDICT, GRADIENT, WEIGHTS, CARD]),
    )
    write_manifest(directory, manifest)
    return directory
