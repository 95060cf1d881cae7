"""Batches: order, augmentation, restart and ranks."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch

from holdfast.errors import UsageError
from training.data import Augmentation, Split
from training.data.loader import Batches

CROP_AND_FLIP = Augmentation(crop=4, flip=True)


def make_split(count: int = 50, channels: int = 3, height: int = 12, width: int = 10, seed: int = 0) -> Split:
    """Random images without a zero, so that padding can be told from pixels; each label is its index."""
    images = np.random.default_rng(seed).integers(1, 256, (count, channels, height, width), dtype=np.uint8)
    return Split(images, np.arange(count))


def epoch_of(batches: Batches, epoch: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = zip(*batches.epoch(epoch), strict=True)
    return torch.cat(images), torch.cat(labels)


def slow_crops(image: np.ndarray, augment: Augmentation) -> dict[bytes, tuple[int, int, bool]]:
    """Every picture that the augmentation may make of one image, made one at a time with plain slices."""
    channels, height, width = image.shape
    crop = augment.crop
    canvas = np.zeros((channels, height + 2 * crop, width + 2 * crop), dtype=np.uint8)
    canvas[:, crop : crop + height, crop : crop + width] = image
    pictures = {}
    for top in range(2 * crop + 1):
        for left in range(2 * crop + 1):
            window = canvas[:, top : top + height, left : left + width]
            pictures[window.tobytes()] = (top, left, False)
            if augment.flip:
                pictures[window[:, :, ::-1].tobytes()] = (top, left, True)
    return pictures


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(
    "augment", [CROP_AND_FLIP, Augmentation(crop=2), Augmentation(flip=True), Augmentation()]
)
def test_every_image_is_one_of_the_crops_and_flips_that_a_slow_reference_makes(
    augment: Augmentation, channels_last: bool
) -> None:
    split = make_split()
    batches = Batches(split, 16, seed=3, augment=augment, channels_last=channels_last)
    for epoch in range(3):
        for image, label in zip(*epoch_of(batches, epoch), strict=True):
            levels = (image * 255).round().to(torch.uint8).numpy()
            assert np.ascontiguousarray(levels).tobytes() in slow_crops(split.images[label], augment)


def test_each_crop_and_flip_comes_equally_often() -> None:
    split = make_split(count=400)
    augment = Augmentation(crop=1, flip=True)
    tables = [slow_crops(image, augment) for image in split.images]
    seen: dict[tuple[int, int, bool], int] = {}
    batches = Batches(split, 400, seed=1, augment=augment)
    for epoch in range(20):
        images, labels = epoch_of(batches, epoch)
        for image, label in zip((images * 255).round().to(torch.uint8).numpy(), labels, strict=True):
            place = tables[label][image.tobytes()]
            seen[place] = seen.get(place, 0) + 1
    # 8,000 draws over 18 places: 444 each, with a standard deviation of 20.5; four of them either way.
    assert len(seen) == 18
    assert all(abs(count - 444.4) < 82 for count in seen.values())


def test_every_epoch_holds_each_image_once_in_another_order() -> None:
    batches = Batches(make_split(), 10, seed=0)
    first, second = epoch_of(batches, 0)[1], epoch_of(batches, 1)[1]
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(50))
    assert first.tolist() != second.tolist() != list(range(50))


def test_another_seed_gives_another_order_and_the_same_seed_the_same() -> None:
    split = make_split()
    labels = [epoch_of(Batches(split, 10, seed=seed))[1].tolist() for seed in (0, 0, 1)]
    assert labels[0] == labels[1] != labels[2]


def test_an_image_is_augmented_anew_in_each_epoch() -> None:
    split = make_split(count=8)
    batches = Batches(split, 8, seed=0, augment=CROP_AND_FLIP)
    first, second = (
        {int(label): image for image, label in zip(*epoch_of(batches, epoch), strict=True)}
        for epoch in (0, 1)
    )
    assert sum(not torch.equal(first[label], second[label]) for label in first) >= 6


def test_order_and_augmentation_never_change_between_releases() -> None:
    # A run started with an older release must resume with the same batches: these numbers are a contract.
    split = Split(np.arange(1, 65, dtype=np.uint8).reshape(4, 1, 4, 4), np.arange(4))
    images, labels = epoch_of(Batches(split, 4, seed=7, augment=Augmentation(crop=1, flip=True)), epoch=2)
    assert labels.tolist() == [1, 2, 0, 3]
    second_rows = (images * 255).round().int()[:, 0, 1].tolist()
    assert second_rows == [[0, 20, 19, 18], [44, 43, 42, 41], [3, 2, 1, 0], [57, 58, 59, 60]]


def test_a_restart_at_any_step_goes_on_with_the_same_batches() -> None:
    split = make_split()
    whole = list(Batches(split, 8, seed=5, augment=CROP_AND_FLIP).epoch(4))
    for start in range(len(whole) + 1):
        rest = list(Batches(split, 8, seed=5, augment=CROP_AND_FLIP).epoch(4, start_step=start))
        assert len(rest) == len(whole) - start
        for (images, labels), (same_images, same_labels) in zip(whole[start:], rest, strict=True):
            assert torch.equal(images, same_images)
            assert torch.equal(labels, same_labels)


def test_a_batch_does_not_depend_on_which_batches_were_drawn_before() -> None:
    batches = Batches(make_split(), 8, seed=5, augment=CROP_AND_FLIP)
    alone = next(batches.epoch(3, start_step=2))
    list(batches.epoch(0))
    torch.manual_seed(99)
    np.random.seed(99)  # the global generators must not matter
    again = list(islice(batches.epoch(3), 3))[2]
    assert torch.equal(alone[0], again[0])
    assert torch.equal(alone[1], again[1])


@pytest.mark.parametrize("world_size", [2, 3, 4])
@pytest.mark.parametrize("drop_last", [True, False])
def test_ranks_share_out_the_batch_of_a_single_process(world_size: int, drop_last: bool) -> None:
    split = make_split()
    alone = Batches(split, 12, seed=2, augment=CROP_AND_FLIP, drop_last=drop_last)
    ranks = [
        Batches(
            split, 12, seed=2, augment=CROP_AND_FLIP, drop_last=drop_last, rank=rank, world_size=world_size
        )
        for rank in range(world_size)
    ]
    assert {len(rank) for rank in ranks} == {len(alone)} == {4 if drop_last else 5}
    parts = zip(*(rank.epoch(1, start_step=1) for rank in ranks), strict=True)
    for (images, labels), shares in zip(alone.epoch(1, start_step=1), parts, strict=True):
        assert torch.equal(images, torch.cat([share for share, _ in shares]))
        assert torch.equal(labels, torch.cat([share for _, share in shares]))
        sizes = [len(share) for _, share in shares]
        assert max(sizes) - min(sizes) <= (0 if len(labels) == 12 else 1)


def test_images_that_are_not_augmented_are_exactly_the_level_over_255() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    images, _ = next(Batches(Split(levels, np.zeros(1, dtype=np.int64)), 1).epoch(0))
    assert images.dtype == torch.float32
    np.testing.assert_array_equal(images.numpy(), levels.astype(np.float32) / np.float32(255))


def test_without_shuffling_images_keep_their_order_and_the_last_batch_its_size() -> None:
    split = make_split(count=10)
    batches = Batches(split, 4, shuffle=False, drop_last=False)
    assert [len(labels) for _, labels in batches.epoch(0)] == [4, 4, 2]
    assert len(batches) == 3
    images, labels = epoch_of(batches)
    assert labels.tolist() == list(range(10))
    assert torch.equal((images * 255).round().to(torch.uint8), torch.from_numpy(split.images))


def test_by_default_the_last_small_batch_is_dropped() -> None:
    batches = Batches(make_split(count=10), 4)
    assert [len(labels) for _, labels in batches.epoch(0)] == [4, 4]
    assert len(batches) == 2


def test_channels_last_changes_the_layout_in_memory_and_no_value() -> None:
    split = make_split()
    plain, last = (
        Batches(split, 16, seed=1, augment=CROP_AND_FLIP, channels_last=flag) for flag in (False, True)
    )
    for (images, _), (same, _) in zip(plain.epoch(0), last.epoch(0), strict=True):
        assert images.is_contiguous()
        assert same.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(images, same)


def test_a_caller_may_change_a_batch_without_changing_the_data() -> None:
    split = make_split()
    before = split.images.copy()
    batches = Batches(split, 10)
    for images, labels in batches.epoch(0):
        images.zero_()
        labels.zero_()
    assert epoch_of(batches)[0].min() > 0
    assert sorted(epoch_of(batches)[1].tolist()) == list(range(50))
    np.testing.assert_array_equal(split.images, before)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("channels_last", [False, True])
def test_an_accelerator_sees_the_same_batches(channels_last: bool) -> None:
    split = make_split()
    make: dict[str, Any] = {"seed": 1, "augment": CROP_AND_FLIP, "channels_last": channels_last}
    here, there = Batches(split, 16, **make), Batches(split, 16, device="cuda", **make)
    for (images, labels), (same_images, same_labels) in zip(here.epoch(0), there.epoch(0), strict=True):
        assert same_images.device.type == same_labels.device.type == "cuda"
        assert torch.equal(images, same_images.cpu())
        assert torch.equal(labels, same_labels.cpu())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 51}, "more than the 50 images"),
        ({"batch_size": 0}, "cannot be shared evenly"),
        ({"batch_size": 10, "world_size": 3}, "cannot be shared evenly by 3 processes"),
        ({"batch_size": 10, "world_size": 2, "rank": 2}, "2 of 2 does not"),
        ({"batch_size": 10, "rank": -1}, "-1 of 1 does not"),
        ({"batch_size": 10, "seed": -1}, "seed"),
    ],
)
def test_numbers_that_do_not_fit_together_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Batches(make_split(), **arguments)


@pytest.mark.parametrize(("epoch", "start"), [(-1, 0), (0, -1), (0, 6)])
def test_a_step_outside_the_epoch_is_refused_at_once(epoch: int, start: int) -> None:
    with pytest.raises(UsageError, match=f"no step {start} of epoch {epoch}"):
        Batches(make_split(), 10).epoch(epoch, start)
