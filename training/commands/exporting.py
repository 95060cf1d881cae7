"""What ``holdfast export`` does once its arguments are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from holdfast import console
from holdfast.bundle import BundleNotFoundError, ModelStore
from holdfast.errors import UsageError
from training import data as datasets
from training.checkpoint import CheckpointInfo, load_exported
from training.data import Dataset
from training.export import Facts, HeldOut, count_steps, export_bundle
from training.recipe import Recipe

#: Test images that the graphs are compared with the network on.
_CALIBRATION = 64
#: Test images, the set's last, that the temperature and the thresholds are chosen and measured on.
_HELD_OUT = 2000


def run(
    checkpoint: Path,
    *,
    name: str | None,
    version: str | None,
    store: Path,
    description: str,
    torchscript: bool,
    force: bool,
    data_root: Path | None,
) -> Path:
    """Export a checkpoint and say what was made.

    Raises:
        HoldfastError: The checkpoint, the data or an argument cannot be used, or the export is refused.
    """
    network, info = load_exported(checkpoint)
    recipe = Recipe.model_validate(info.recipe)
    dataset = _load(info, recipe, data_root)
    name = name or recipe.name
    if not info.finished:
        console.stderr.print(
            f"[bold yellow]Warning:[/] the run is not finished: epoch {info.epoch} of {recipe.epochs}."
        )
    with console.progress("Exporting", count_steps(network, torchscript=torchscript), unit="steps") as bar:
        root = export_bundle(
            network,
            name=name,
            version=version or _next_version(store, name),
            store=store,
            facts=Facts.of_run(info, network, description),
            calibration_images=_spread(dataset),
            held_out=_held_out(dataset),
            torchscript=torchscript,
            force=force,
            progress=lambda done, step: bar.update(done, note=step),
        )
    _report(root, name)
    return root


def _load(info: CheckpointInfo, recipe: Recipe, data_root: Path | None) -> Dataset:
    options = recipe.dataset.options.model_dump(exclude_none=True)
    dataset = datasets.load(recipe.dataset.name, data_root, **options)
    if dataset.shape != info.dataset.shape:
        raise UsageError(
            f"{recipe.dataset.name} has images {dataset.shape}; the network takes {info.dataset.shape}."
        )
    return dataset


def _spread(dataset: Dataset) -> np.ndarray:
    """A few test images from all over the set, which may be sorted by class."""
    split = dataset.test
    chosen = np.linspace(0, len(split) - 1, min(_CALIBRATION, len(split))).astype(int)
    images: np.ndarray = split.images[chosen].astype(np.float32) / 255
    return images


def _held_out(dataset: Dataset) -> HeldOut:
    """The last test images, in random order; what is evaluated on few images takes the first."""
    split = dataset.test.only_exact()
    order = np.random.default_rng(0).permutation(np.arange(max(0, len(split) - _HELD_OUT), len(split)))
    return HeldOut(split.images[order].astype(np.float32) / 255, split.labels[order])


def _next_version(store: Path, name: str) -> str:
    try:
        return str(int(ModelStore(store).versions(name)[-1]) + 1)
    except BundleNotFoundError:
        return "1"


def _report(root: Path, name: str) -> None:
    from holdfast.bundle import Bundle

    bundle = Bundle.open(root, verify=False)
    parity = bundle.manifest.parity
    size = sum(entry.size for entry in bundle.manifest.files.values())
    console.stdout.print(f"Exported {root} ({console.format_size(size)}).", soft_wrap=True)
    console.stdout.print(
        f"On {parity.images} images, logits differ from the network's by {parity.logits:.1e} at most, "
        f"gradients by {parity.gradient:.1e} of the image's largest.",
        soft_wrap=True,
    )
    console.stdout.print(
        f"Measure it with: holdfast evaluate {name}/{bundle.version} --store {root.parent.parent}",
        soft_wrap=True,
    )
