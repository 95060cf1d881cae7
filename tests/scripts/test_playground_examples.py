"""The playground's examples are the test images that they are said to be, pixel by pixel, and small."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scripts.playground_examples import SOURCES, choose
from serving.playground.assets import EXAMPLES, EXAMPLES_INDEX, STATIC, PackedAssets
from training.data.errors import DataError
from training.data.registry import load


def listed() -> dict[str, Any]:
    packed = PackedAssets(STATIC)
    asset = packed.find(packed.digest, f"examples/{EXAMPLES_INDEX}")
    assert asset
    found: dict[str, Any] = json.loads(asset.content)
    return found


def test_every_example_that_is_listed_is_answered_and_no_other_is_there() -> None:
    packed = PackedAssets(STATIC)
    files = [image["file"] for source in listed().values() for image in source["images"]]
    for file in files:
        asset = packed.find(packed.digest, f"examples/{file}")
        assert asset
        assert asset.media_type == "image/png"
    assert {path.relative_to(EXAMPLES).as_posix() for path in EXAMPLES.rglob("*.png")} == set(files)
    assert sum(path.stat().st_size for path in EXAMPLES.rglob("*") if path.is_file()) < 100_000


@pytest.mark.parametrize("name", ["cifar10", "mnist", "digits"])
def test_examples_are_the_first_test_images_of_each_class(name: str) -> None:
    if name != "digits" and not os.environ.get("HOLDFAST_DATA"):
        pytest.skip(f"HOLDFAST_DATA is not set: the real {name} is not at hand")
    try:
        dataset = load(name)
    except DataError as error:
        pytest.skip(str(error))
    source, images = SOURCES[name], listed()[name]["images"]
    assert [image["index"] for image in images] == choose(dataset.test, source.per_class)
    for image in images:
        place = image["index"]
        assert image["label"] == dataset.classes[dataset.test.labels[place]]
        with Image.open(EXAMPLES / image["file"]) as picture:
            pixels = np.atleast_3d(np.asarray(picture)).transpose(2, 0, 1)
        np.testing.assert_array_equal(pixels, dataset.test.images[place])
    labels = [image["label"] for image in images]
    assert all(labels.count(label) == source.per_class for label in dataset.classes)
