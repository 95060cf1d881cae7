"""From a name and options to a data set."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from holdfast.errors import MissingExtraError
from training.data import Augmentation, DataError, default_root, load, names


@pytest.mark.parametrize("name", ["cifar-10", "", "npz:", "zip:a.zip", "digits:x"])
def test_an_unknown_name_is_answered_with_the_known_ones(name: str) -> None:
    with pytest.raises(DataError, match="There is no data set") as caught:
        load(name)
    assert all(known in caught.value.hint for known in names())


def test_the_root_is_the_environment_variable_or_the_folder_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_DATA", "/somewhere/else")
    assert default_root() == Path("/somewhere/else")
    monkeypatch.setenv("HOLDFAST_DATA", "")
    assert default_root() == Path("data")
    monkeypatch.delenv("HOLDFAST_DATA")
    assert default_root() == Path("data")


def test_an_option_that_does_not_apply_is_refused_rather_than_dropped() -> None:
    with pytest.raises(DataError, match="does not take the option 'size'") as caught:
        load("digits", size=16)
    assert "test_fraction" in caught.value.hint


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test_fraction": 0.0}, "between 0 and 1"),
        ({"test_fraction": 1.0}, "between 0 and 1"),
        ({"seed": -1}, "A seed is a whole number"),
        ({"crop": -1}, "crop padding"),
    ],
)
def test_an_option_out_of_range_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load("digits", **options)


def test_crop_and_flip_replace_the_sets_own_rule_one_by_one() -> None:
    assert load("digits").augmentation == Augmentation()
    assert load("digits", crop=1).augmentation == Augmentation(crop=1)
    assert load("digits", flip=True).augmentation == Augmentation(flip=True)


def test_digits_are_always_there() -> None:
    dataset = load("digits", "/nowhere")
    assert dataset.shape == (1, 8, 8)
    assert len(dataset.train) + len(dataset.test) == 1797
    assert dataset.classes == tuple("0123456789")
    assert dataset.train.images.min() == 0
    assert dataset.train.images.max() == 255


def test_digits_keep_their_seventeen_grey_levels() -> None:
    levels = np.unique(load("digits").train.images)
    np.testing.assert_array_equal(levels, np.rint(np.arange(17) * 255 / 16))


def test_a_share_of_each_digit_is_held_out_and_the_rest_is_trained_on() -> None:
    dataset = load("digits", test_fraction=0.25)
    held_out = np.bincount(dataset.test.labels)
    trained_on = np.bincount(dataset.train.labels)
    np.testing.assert_allclose(held_out / (held_out + trained_on), 0.25, atol=0.003)


def test_the_held_out_digits_are_the_same_on_every_machine() -> None:
    # A figure on the digits means something only if everybody holds out the same ones.
    assert load("digits").digest == "3defcbc9d232ec62"
    assert load("digits", seed=1).digest != "3defcbc9d232ec62"


@pytest.mark.parametrize(
    ("name", "module"),
    [("digits", "sklearn.datasets"), ("mnist", "torchvision"), ("cifar100", "torchvision")],
)
def test_a_missing_library_comes_with_the_command_that_installs_it(
    name: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=f"The data set '{name}' needs") as caught:
        load(name)
    assert "holdfast[train]" in caught.value.hint


def test_importing_the_package_does_not_import_torch() -> None:
    heavy = "{'torch', 'torchvision', 'sklearn'}"
    code = f"import sys, training.data; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
