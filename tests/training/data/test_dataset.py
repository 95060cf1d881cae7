"""What a data set guarantees once it is there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from training.data import Augmentation, DataError, Dataset, Split

CLASSES = ("a", "b", "c")


def make_split(count: int, *, seed: int = 0, exact: bool = False) -> Split:
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (count, 3, 6, 5), dtype=np.uint8)
    mask = generator.random(count) < 0.7 if exact else None
    return Split(images, np.arange(count) % len(CLASSES), mask)


def make_dataset(train: Split | None = None, test: Split | None = None) -> Dataset:
    train = make_split(5000) if train is None else train
    test = make_split(60, seed=1) if test is None else test
    return Dataset("made-up", train, test, CLASSES)


def test_mean_and_deviation_are_those_of_the_training_pixels_in_image_units() -> None:
    dataset = make_dataset()
    pixels = dataset.train.images.astype(np.float64) / 255
    np.testing.assert_allclose(dataset.mean, pixels.mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(dataset.std, pixels.std(axis=(0, 2, 3)), rtol=1e-12)


def test_a_constant_channel_can_still_be_divided_by_its_deviation() -> None:
    train = make_split(30)
    train.images[:, 1] = 7
    dataset = make_dataset(train)
    assert dataset.mean[1] == pytest.approx(7 / 255)
    assert dataset.std[1] == 1 / 255


def test_shape_is_that_of_one_image() -> None:
    assert make_dataset().shape == (3, 6, 5)


def test_the_digest_is_the_same_for_the_same_arrays_whatever_they_are_called() -> None:
    first, second = make_dataset(), replace(make_dataset(), name="other", note="elsewhere")
    assert first.digest == second.digest
    assert len(first.digest) == 16
    assert int(first.digest, 16) >= 0


@pytest.mark.parametrize("which", ["train", "test"])
@pytest.mark.parametrize("what", ["images", "labels"])
def test_the_digest_changes_with_any_pixel_or_label(which: str, what: str) -> None:
    dataset = make_dataset()
    before = dataset.digest
    changed = make_dataset()
    array = getattr(getattr(changed, which), what)
    array.flat[-1] = (array.flat[-1] + 1) % 3
    assert changed.digest != before


def test_the_digest_does_not_depend_on_how_the_arrays_lie_in_memory() -> None:
    dataset = make_dataset()
    images = np.ascontiguousarray(dataset.train.images.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    assert not images.flags.c_contiguous
    assert make_dataset(Split(images, dataset.train.labels)).digest == dataset.digest


def test_the_exact_images_alone_can_be_reported_on() -> None:
    split = make_split(60, exact=True)
    assert split.exact is not None
    kept = split.only_exact()
    np.testing.assert_array_equal(kept.images, split.images[split.exact])
    np.testing.assert_array_equal(kept.labels, split.labels[split.exact])
    assert 0 < len(kept) < 60


def test_a_split_without_copies_is_reported_on_whole() -> None:
    split = make_split(9)
    assert split.only_exact() is split
    marked = Split(split.images, split.labels, np.ones(9, dtype=np.bool_))
    assert marked.only_exact() is marked


def test_part_of_a_split_keeps_the_order_asked_for() -> None:
    split = make_split(9, exact=True)
    part = split.take(np.array([5, 2]))
    np.testing.assert_array_equal(part.images, split.images[[5, 2]])
    assert part.exact is not None
    assert len(split.take(slice(4))) == 4


@pytest.mark.parametrize(
    ("images", "labels", "exact", "message"),
    [
        (np.zeros((2, 3, 4, 4), np.float32), np.zeros(2, np.int64), None, "Images are uint8"),
        (np.zeros((2, 4, 4), np.uint8), np.zeros(2, np.int64), None, "Images are uint8"),
        (np.zeros((2, 3, 4, 4), np.uint8), np.zeros(3, np.int64), None, "one for each image"),
        (np.zeros((2, 3, 4, 4), np.uint8), np.zeros(2, np.int32), None, "Labels are int64"),
        (np.zeros((2, 3, 4, 4), np.uint8), np.zeros(2, np.int64), np.ones(3, np.bool_), "exact mask"),
        (np.zeros((2, 3, 4, 4), np.uint8), np.zeros(2, np.int64), np.ones(2, np.uint8), "exact mask"),
    ],
)
def test_a_split_of_other_types_or_shapes_is_refused(
    images: np.ndarray, labels: np.ndarray, exact: np.ndarray | None, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        Split(images, labels, exact)


def test_an_empty_split_is_refused() -> None:
    with pytest.raises(DataError, match="test split is empty"):
        make_dataset(test=make_split(9).take(slice(0)))


def test_splits_of_different_image_sizes_are_refused() -> None:
    other = Split(np.zeros((4, 3, 6, 6), np.uint8), np.zeros(4, np.int64))
    with pytest.raises(DataError, match=r"test images are \(3, 6, 6\) and training images \(3, 6, 5\)"):
        make_dataset(test=other)


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_that_names_no_class_is_refused(label: int) -> None:
    train = make_split(9)
    train.labels[4] = label
    with pytest.raises(DataError, match="must lie in 0 to 2"):
        make_dataset(train)


@pytest.mark.parametrize("classes", [("only",), ("same", "same", "other")])
def test_classes_are_two_or_more_and_differ(classes: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match="two or more classes"):
        replace(make_dataset(), classes=classes)


def test_a_negative_crop_is_refused() -> None:
    with pytest.raises(DataError, match="crop padding"):
        Augmentation(crop=-1)


def test_an_augmentation_is_true_where_it_does_something() -> None:
    assert not Augmentation()
    assert Augmentation(crop=1)
    assert Augmentation(flip=True)
