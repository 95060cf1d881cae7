"""What ``holdfast export package.module:build`` does once its arguments are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from holdfast import console
from holdfast.bundle import PREDICT
from holdfast.errors import UsageError
from training import data as datasets
from training.commands.exporting import held_out_of, next_version, report, spread
from training.commands.import_facts import Import, facts_of, name_of, parse_arguments, parse_shape
from training.data import Dataset as Images
from training.errors import GradientError
from training.export import Facts, HeldOut, Weights, count_steps, export_bundle
from training.export.verify import open_graph
from training.imported import ImportedNetwork, Preprocessing, build_module, load_weights, try_out
from training.models import Normalise

#: Fewest held-out images that a temperature is fitted on.
_FEWEST = 20
#: Images that the graphs are compared on where there are no real ones.
_DRAWN = 16


def run(
    wanted: Import,
    *,
    name: str | None,
    version: str | None,
    store: Path,
    description: str,
    precision: Weights,
    torchscript: bool,
    force: bool,
) -> Path:
    """Build the model, look whether it can be served, export it, and say what was made.

    Raises:
        HoldfastError: The model, the data or an argument cannot be used, or the export is refused.
    """
    arguments = parse_arguments(wanted.arguments)
    shape = parse_shape(wanted.input_shape)
    images = _images(wanted, shape)
    shape = shape or (images.shape if images else None)
    if shape is None:
        raise UsageError(
            "Nobody said which images the model takes.",
            hint="Say it with --input-shape CxHxW, e.g. 3x224x224, or name images with --data.",
        )
    preprocessing = Preprocessing.parse(wanted.normalise, wanted.input_range, shape[0])
    module = build_module(wanted.factory, arguments)
    file = None if wanted.weights is None else load_weights(module, wanted.weights)
    calibration = spread(images) if images else _drawn_images(shape)
    trial = try_out(module, torch.from_numpy(calibration), Normalise(preprocessing.mean, preprocessing.std))
    if trial.constant:
        console.stderr.print(
            "[bold yellow]Warning:[/] every image gets the same logits: nothing that is compared can differ. "
            "Are these the weights that were trained?",
            soft_wrap=True,
        )
    network = ImportedNetwork(module, preprocessing, trial.classes)
    facts = facts_of(wanted, arguments, file, network, shape, images, description)
    held_out = _held_out(images)
    name = name or name_of(wanted.factory)
    steps = count_steps(
        network, shape, torchscript=torchscript, half=precision == "float16", gradient=wanted.gradient
    )
    try:
        with console.progress("Exporting", steps, unit="steps") as bar:
            root = export_bundle(
                network,
                name=name,
                version=version or next_version(store, name),
                store=store,
                facts=facts,
                calibration_images=calibration,
                held_out=held_out,
                weights=precision,
                torchscript=torchscript,
                gradient=wanted.gradient,
                force=force,
                progress=lambda done, step: bar.update(done, note=step),
            )
    except GradientError as error:
        raise GradientError(
            f"The model's gradient cannot be exported, without which nobody can attack it by gradient. "
            f"{error.message}",
            hint=f"{error.hint} Or export it with --no-gradient, to classify, and to be attacked by its "
            "scores and decisions only.".lstrip(),
        ) from error
    report(root, name)
    _say_what_it_is_worth(root, facts, held_out)
    return root


def _images(wanted: Import, shape: tuple[int, int, int] | None) -> Images | None:
    if wanted.data is None:
        return None
    options: dict[str, Any] = {}
    if shape and wanted.data.startswith("folder:"):
        options = {"size": shape[1:], "channels": shape[0]}
    images = datasets.load(wanted.data, wanted.data_root, **options)
    if shape and images.shape != shape:
        raise UsageError(f"{wanted.data} has images {images.shape}; --input-shape says {shape}.")
    return images


def _held_out(images: Images | None) -> HeldOut | None:
    if images is None:
        return None
    found = held_out_of(images)
    if len(found.labels) < _FEWEST:
        console.stderr.print(
            f"[bold yellow]Warning:[/] {images.name} has {len(found.labels)} test images, too few for a "
            f"temperature; {_FEWEST} would do."
        )
        return None
    return found


def _drawn_images(shape: tuple[int, int, int]) -> np.ndarray:
    """Coarse random patches under fine noise, where there are no real images: noise alone would be too easy.

    In 8 bits, as images are: where a ramp is level but for rounding, pooling has ties that anybody may break.
    """
    channels, height, width = shape
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(_DRAWN, channels, 4, 4, generator=generator)
    grown = nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    mixed = 0.8 * grown + 0.2 * torch.rand(grown.shape, generator=generator)
    drawn: np.ndarray = (mixed.mul(255).round() / 255).numpy()
    return drawn


def _say_what_it_is_worth(root: Path, facts: Facts, held_out: HeldOut | None) -> None:
    """Accuracy, where there are images: a wrong normalisation or order of classes shows there first."""
    if held_out is None:
        console.stdout.print(
            "There were no images at hand: what the model is worth is not known. Name some with --data.",
            soft_wrap=True,
        )
        return
    session = open_graph(root / PREDICT)
    answers = [
        session.run(["logits"], {"images": held_out.images[start : start + 100]})[0].argmax(1)
        for start in range(0, len(held_out.images), 100)
    ]
    accuracy = float((np.concatenate(answers) == held_out.labels).mean())
    console.stdout.print(
        f"Of {len(held_out.labels):,} held-out images it gets {accuracy:.1%} right.", soft_wrap=True
    )
    if accuracy < 2 / len(facts.classes):
        console.stderr.print(
            "[bold yellow]Warning:[/] that is no better than guessing. Is --normalise what the model was "
            "trained with, and are the classes in its order?",
            soft_wrap=True,
        )
