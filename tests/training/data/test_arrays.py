"""Data sets from an .npz file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training.data import Augmentation, DataError, load

Arrays = dict[str, Any]
NAMES = ("cat", "dog", "owl")


def make_arrays(shape: tuple[int, ...] = (8, 6, 3)) -> Arrays:
    """Random arrays of three classes; ``shape`` is one image's."""
    generator = np.random.default_rng(0)
    return {
        "train_images": generator.integers(0, 256, (20, *shape), dtype=np.uint8),
        "train_labels": np.arange(20) % 3,
        "test_images": generator.integers(0, 256, (7, *shape), dtype=np.uint8),
        "test_labels": np.arange(7) % 3,
        "class_names": np.array(NAMES),
        "test_exact": np.arange(7) != 4,
    }


def save(path: Path, arrays: Arrays) -> str:
    np.savez(path, **arrays)
    return f"npz:{path}"


def test_images_with_channels_last_are_turned_to_channels_first(tmp_path: Path) -> None:
    arrays = make_arrays()
    dataset = load(save(tmp_path / "a.npz", arrays))
    np.testing.assert_array_equal(dataset.train.images, arrays["train_images"].transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(dataset.test.images, arrays["test_images"].transpose(0, 3, 1, 2))
    assert dataset.train.images.flags.c_contiguous
    assert dataset.shape == (3, 8, 6)


def test_images_with_channels_first_stay_as_they_are(tmp_path: Path) -> None:
    arrays = make_arrays((3, 8, 6))
    dataset = load(save(tmp_path / "a.npz", arrays))
    np.testing.assert_array_equal(dataset.train.images, arrays["train_images"])


@pytest.mark.parametrize("shape", [(8, 6), (8, 6, 1), (1, 8, 6)])
def test_grey_images_have_one_channel_however_they_are_laid_out(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    arrays = make_arrays(shape)
    dataset = load(save(tmp_path / "a.npz", arrays))
    np.testing.assert_array_equal(dataset.test.images, arrays["test_images"].reshape(7, 1, 8, 6))


def test_labels_names_and_exactness_come_with_the_images(tmp_path: Path) -> None:
    arrays = make_arrays()
    dataset = load(save(tmp_path / "a.npz", arrays))
    np.testing.assert_array_equal(dataset.train.labels, arrays["train_labels"])
    assert dataset.classes == NAMES
    assert dataset.name == "npz:a.npz"
    assert dataset.train.exact is None
    assert len(dataset.test.only_exact()) == 6
    assert "1 test images are close copies" in dataset.note
    assert not dataset.augmentation


def test_labels_of_any_whole_type_become_int64(tmp_path: Path) -> None:
    arrays = make_arrays()
    arrays["train_labels"] = arrays["train_labels"].astype(np.uint8)
    assert load(save(tmp_path / "a.npz", arrays)).train.labels.dtype == np.int64


def test_classes_without_names_are_numbered(tmp_path: Path) -> None:
    arrays = make_arrays()
    del arrays["class_names"]
    assert load(save(tmp_path / "a.npz", arrays)).classes == ("0", "1", "2")


def test_a_compressed_file_is_read_as_well(tmp_path: Path) -> None:
    arrays = make_arrays()
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    plain = load(save(tmp_path / "b.npz", arrays))
    assert load(f"npz:{tmp_path / 'a.npz'}").digest == plain.digest


def test_a_relative_path_is_looked_for_here_and_then_under_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, root = tmp_path / "here", tmp_path / "root"
    here.mkdir()
    root.mkdir()
    monkeypatch.chdir(here)
    with pytest.raises(DataError, match=r"There is no 'a\.npz': looked at a\.npz and .*root/a\.npz"):
        load("npz:a.npz", root)
    save(root / "a.npz", make_arrays((3, 8, 6)))
    assert load("npz:a.npz", root).shape == (3, 8, 6)
    save(here / "a.npz", make_arrays((3, 5, 5)))
    assert load("npz:a.npz", root).shape == (3, 5, 5)


def test_the_caller_says_how_to_augment(tmp_path: Path) -> None:
    dataset = load(save(tmp_path / "a.npz", make_arrays()), crop=2, flip=True)
    assert dataset.augmentation == Augmentation(crop=2, flip=True)


def drop(key: str) -> Callable[[Arrays], None]:
    return lambda arrays: arrays.pop(key)


def put(key: str, value: Any) -> Callable[[Arrays], None]:
    return lambda arrays: arrays.update({key: value})


BAD = {
    "a missing array": (drop("test_labels"), "has no array 'test_labels'"),
    "floats for images": (put("train_images", np.zeros((20, 8, 6, 3))), "float64; images are uint8"),
    "flat images": (put("train_images", np.zeros((20, 192), np.uint8)), r"shape \(20, 192\)"),
    "two channels": (put("train_images", np.zeros((20, 8, 6, 2), np.uint8)), "neither side has 1 or 3"),
    "unclear channels": (put("train_images", np.zeros((20, 3, 6, 3), np.uint8)), "either side could be"),
    "other sizes": (put("test_images", np.zeros((7, 8, 8, 3), np.uint8)), r"test images are \(3, 8, 8\)"),
    "no images": (put("test_images", np.zeros((0, 8, 6, 3), np.uint8)), "one for each image"),
    "too few labels": (put("train_labels", np.arange(19) % 3), "one for each image"),
    "labels as floats": (put("train_labels", np.zeros(20)), "labels are whole numbers"),
    "one-hot labels": (put("train_labels", np.zeros((20, 3), np.int64)), "labels are whole numbers"),
    "a label without a name": (put("class_names", np.array(["cat", "dog"])), "must lie in 0 to 1"),
    "a negative label": (put("test_labels", np.arange(7) - 1), "run from -1 to 5"),
    "numbers for names": (put("class_names", np.arange(3)), "it is text"),
    "a mask of numbers": (put("test_exact", np.ones(7)), "exact mask is bool"),
    "pickled objects": (put("class_names", np.array(["cat", None, "owl"], dtype=object)), "allow_pickle"),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD.keys())
def test_arrays_of_other_types_or_shapes_are_refused(
    tmp_path: Path, change: Callable[[Arrays], None], message: str
) -> None:
    arrays = make_arrays()
    change(arrays)
    name = save(tmp_path / "a.npz", arrays)
    with pytest.raises(DataError, match=message):
        load(name)


def test_a_pickle_in_the_file_is_never_run(tmp_path: Path) -> None:
    witness = tmp_path / "it-ran"

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(witness),)

    arrays = make_arrays()
    arrays["train_labels"] = np.array([Trap()] * 20, dtype=object)
    name = save(tmp_path / "a.npz", arrays)
    with pytest.raises(DataError, match="allow_pickle"):
        load(name)
    assert not witness.exists()


@pytest.mark.parametrize("content", [b"", b"not an archive at all", b"PK\x03\x04 cut off"])
def test_a_file_that_is_no_npz_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DataError, match="cannot be read as an"):
        load(f"npz:{tmp_path / 'a.npz'}")


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "a.npz", make_arrays())
    whole = (tmp_path / "a.npz").read_bytes()
    for length in (len(whole) // 3, len(whole) - 10):
        (tmp_path / "b.npz").write_bytes(whole[:length])
        with pytest.raises(DataError, match="cannot be read as an"):
            load(f"npz:{tmp_path / 'b.npz'}")


def test_a_flipped_byte_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "a.npz", make_arrays())
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[600] ^= 1  # in the pixels of the first array, after its header
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DataError, match="Bad CRC-32"):
        load(f"npz:{tmp_path / 'a.npz'}")


def test_a_single_array_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(3))
    with pytest.raises(DataError, match="a single array"):
        load(f"npz:{tmp_path / 'a.npy'}")


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read as an"):
        load(f"npz:{tmp_path}")
