"""What ``holdfast export`` does once its arguments are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from holdfast import console
from holdfast.bundle import BundleNotFoundError, ModelStore
from holdfast.errors import UsageError
from training import data as datasets
from training.commands.export_source import Source
from training.data import Dataset
from training.export import HeldOut, Weights, count_steps, export_bundle

#: Test images that the graphs are compared with the network on.
_CALIBRATION = 64
#: Test images, the set's last, that the temperature and the thresholds are chosen and measured on.
_HELD_OUT = 2000


def run(
    path: Path,
    *,
    name: str | None,
    version: str | None,
    store: Path,
    description: str,
    precision: Weights,
    torchscript: bool,
    force: bool,
    data_root: Path | None,
) -> Path:
    """Export a checkpoint's network, or a bundle's, and say what was made.

    Raises:
        HoldfastError: The network, the data or an argument cannot be used, or the export is refused.
    """
    source = Source.find(path, description)
    dataset = _load(source, data_root)
    name = name or source.name
    steps = count_steps(
        source.network, source.facts.input.shape, torchscript=torchscript, half=precision == "float16"
    )
    with console.progress("Exporting", steps, unit="steps") as bar:
        root = export_bundle(
            source.network,
            name=name,
            version=version or next_version(store, name),
            store=store,
            facts=source.facts,
            calibration_images=spread(dataset),
            held_out=held_out_of(dataset),
            weights=precision,
            torchscript=torchscript,
            force=force,
            progress=lambda done, step: bar.update(done, note=step),
        )
    report(root, name)
    return root


def _load(source: Source, data_root: Path | None) -> Dataset:
    wanted, shape = source.dataset, source.facts.input.shape
    dataset = datasets.load(wanted.name, data_root, **wanted.options.model_dump(exclude_none=True))
    if dataset.shape != shape:
        raise UsageError(f"{wanted.name} has images {dataset.shape}; the network takes {shape}.")
    return dataset


def spread(dataset: Dataset) -> np.ndarray:
    """A few test images from all over the set, which may be sorted by class."""
    split = dataset.test
    chosen = np.linspace(0, len(split) - 1, min(_CALIBRATION, len(split))).astype(int)
    images: np.ndarray = split.images[chosen].astype(np.float32) / 255
    return images


def held_out_of(dataset: Dataset) -> HeldOut:
    """The last test images, in random order; what is evaluated on few images takes the first."""
    split = dataset.test.only_exact()
    order = np.random.default_rng(0).permutation(np.arange(max(0, len(split) - _HELD_OUT), len(split)))
    return HeldOut(split.images[order].astype(np.float32) / 255, split.labels[order])


def next_version(store: Path, name: str) -> str:
    """The version after a model's newest."""
    try:
        return str(int(ModelStore(store).versions(name)[-1]) + 1)
    except BundleNotFoundError:
        return "1"


def report(root: Path, name: str) -> None:
    """Say what was written, how well it agrees with the network, and what to do next."""
    from holdfast.bundle import Bundle

    bundle = Bundle.open(root, verify=False)
    parity = bundle.manifest.parity
    size = sum(entry.size for entry in bundle.manifest.files.values())
    console.stdout.print(f"Exported {root} ({console.format_size(size)}).", soft_wrap=True)
    console.stdout.print(
        f"On {parity.images} images, logits differ from the network's by {parity.logits:.1e} at most"
        + (
            "."
            if parity.gradient is None
            else f", gradients by {parity.gradient:.1e} of the image's largest."
        ),
        soft_wrap=True,
    )
    if (precision := bundle.manifest.precision) is not None:
        console.stdout.print(
            f"Its weights are stored as {precision.weights}: {precision.changed:.2%} of {precision.images:,} "
            f"images change their class by it, and logits differ by {precision.logits:.1e} at most.",
            soft_wrap=True,
        )
    console.stdout.print(
        f"Measure it with: holdfast evaluate {name}/{bundle.version} --store {root.parent.parent}",
        soft_wrap=True,
    )
