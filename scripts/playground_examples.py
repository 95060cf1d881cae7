#!/usr/bin/env python3
"""Write the playground's example images: of each data set, the first test images of each class, unchanged.

HOLDFAST_DATA names the folder of CIFAR-10 and MNIST; the digits come with scikit-learn.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from serving.playground.assets import EXAMPLES, EXAMPLES_INDEX
from training.data.dataset import Split
from training.data.registry import load


@dataclass(frozen=True)
class Source:
    """What is taken of a data set: so many images of each class, and what is said of them."""

    per_class: int
    note: str


SOURCES = {
    "cifar10": Source(2, "The first two test images of each class of CIFAR-10."),
    "mnist": Source(1, "The first test image of each class of MNIST."),
    "digits": Source(
        1,
        "The first of each class of scikit-learn's scanned digits, of the part that is held out of training.",
    ),
}


def choose(test: Split, per_class: int) -> list[int]:
    """The places of the first images of each class in a test set, in their order, without close copies."""
    exact = np.ones(len(test), bool) if test.exact is None else test.exact
    places = [np.flatnonzero((test.labels == label) & exact)[:per_class] for label in np.unique(test.labels)]
    return sorted(int(place) for place in np.concatenate(places))


def write(directory: Path) -> None:
    """Write the images and what is said of them, in place of those that are there."""
    shutil.rmtree(directory, ignore_errors=True)
    index = {}
    for name, source in SOURCES.items():
        dataset = load(name)
        (directory / name).mkdir(parents=True)
        images = []
        for place in choose(dataset.test, source.per_class):
            label = dataset.classes[dataset.test.labels[place]]
            file = f"{name}/{place:04d}-{label}.png"
            pixels = dataset.test.images[place].transpose(1, 2, 0)
            Image.fromarray(pixels.squeeze()).save(directory / file, optimize=True)
            images.append({"file": file, "label": label, "index": place})
        index[name] = {"note": source.note, "images": images}
    (directory / EXAMPLES_INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write(EXAMPLES)
