"""Batches of a split that lives on the device and is augmented there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from holdfast.errors import UsageError
from training.data.dataset import Augmentation, Split
from training.data.draws import Stream, below, permutation, words

if TYPE_CHECKING:
    import numpy.typing as npt


class Batches:
    """The batches of every epoch over one split, as a function of ``(seed, epoch, step)``.

    The images are one uint8 tensor on the device, padded once by the crop's margin. A batch is one gather of
    windows from it, a flip and a division; no Python code runs per image. The order of an epoch depends on
    ``(seed, epoch)`` alone and an image's crop and flip on ``(seed, epoch, place in the epoch)``. So resuming
    at a step needs no stored generator state, CPU and GPU see the same batches, and the batches of several
    ranks joined in rank order are the batches of a single process.

    Args:
        split: What to draw from.
        batch_size: Images in one global batch, over all ranks.
        seed: Seed of order and augmentation, 0 or more.
        device: Where the images live and the batches appear.
        augment: Crop and flip; None or an empty one leaves the images as they are.
        rank: This process's index among ``world_size``.
        world_size: Processes that share each batch; ``batch_size`` must be a multiple of it.
        shuffle: False keeps the split's order, as for evaluation.
        drop_last: False adds the last, smaller batch. Ranks then share it as evenly as it allows, so that a
            rank's part can be empty; every rank takes the same number of steps.
        channels_last: Yield images in ``torch.channels_last`` memory format; shape and values are the same.

    Raises:
        UsageError: The numbers do not fit together.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        seed: int = 0,
        device: torch.device | str = "cpu",
        *,
        augment: Augmentation | None = None,
        rank: int = 0,
        world_size: int = 1,
        shuffle: bool = True,
        drop_last: bool = True,
        channels_last: bool = False,
    ) -> None:
        if not 0 <= rank < world_size:
            raise UsageError(f"A rank lies in 0 to world_size - 1; {rank} of {world_size} does not.")
        if batch_size < 1 or batch_size % world_size:
            raise UsageError(
                f"A batch of {batch_size} images cannot be shared evenly by {world_size} processes.",
                hint="Choose a batch size that is a multiple of the number of processes.",
            )
        if drop_last and batch_size > len(split):
            raise UsageError(
                f"A batch of {batch_size} is more than the {len(split)} images there are.",
                hint="Choose a smaller batch size.",
            )
        if seed < 0:
            raise UsageError(f"A seed is a whole number, 0 or more, not {seed}.")
        self.batch_size, self.seed, self.device = batch_size, seed, torch.device(device)
        self.augment = augment or Augmentation()
        self.rank, self.world_size = rank, world_size
        self.shuffle, self.drop_last, self.channels_last = shuffle, drop_last, channels_last
        self._count = len(split)
        self._labels = torch.tensor(split.labels, device=self.device)
        self._windows = self._make_windows(split.images)

    def __len__(self) -> int:
        """Steps in one epoch."""
        whole, rest = divmod(self._count, self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Iterate over this rank's share of an epoch's batches from ``start_step`` on.

        Args:
            epoch: Which epoch, 0 or more.
            start_step: Steps of it already taken, 0 to ``len(self)``.

        Returns:
            An iterator over images float32 ``(batch, channels, height, width)`` in [0, 1] and labels int64
            ``(batch,)``, both on the device.

        Raises:
            UsageError: There is no such epoch or step.
        """
        if epoch < 0 or not 0 <= start_step <= len(self):
            raise UsageError(
                f"There is no step {start_step} of epoch {epoch}: "
                f"epochs count from 0 and have {len(self)} steps."
            )
        return self._iterate(epoch, start_step)

    def _iterate(self, epoch: int, start_step: int) -> Iterator[tuple[Tensor, Tensor]]:
        order, tops, lefts, flips = self._plan(epoch)
        for step in range(start_step, len(self)):
            start = step * self.batch_size
            size = min(self.batch_size, self._count - start)
            part = slice(
                start + size * self.rank // self.world_size, start + size * (self.rank + 1) // self.world_size
            )
            index = order[part]
            images = self._windows[index, tops[part], lefts[part]]
            if self.augment.flip:
                # Windows are (height, width, channels) in memory order where channels_last, else NCHW.
                width = 2 if self.channels_last else 3
                images = torch.where(flips[part, None, None, None], images.flip(width), images)
            if self.channels_last:
                images = images.permute(0, 3, 1, 2)
            # Divided, not multiplied by 1/255: the quotient is the float32 nearest to level / 255, which is
            # what decoding the same image for the served model gives.
            yield images.float().div_(255), self._labels[index]

    def _plan(self, epoch: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The epoch's order, and the top, left and flip of the image at each place in it."""
        count, crop = self._count, self.augment.crop
        order = np.arange(count)
        if self.shuffle:
            order = permutation(count, seed=self.seed, stream=Stream.ORDER, index=epoch)
        bits = words(count, seed=self.seed, stream=Stream.AUGMENTATION, index=epoch)
        low = np.uint64(2**24 - 1)
        tops = below(2 * crop + 1, bits & low)
        lefts = below(2 * crop + 1, (bits >> np.uint64(24)) & low)
        flips = (bits >> np.uint64(63)).astype(np.bool_)
        return self._put(order), self._put(tops), self._put(lefts), self._put(flips)

    def _put(self, array: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> Tensor:
        return torch.from_numpy(array).to(self.device)

    def _make_windows(self, images: npt.NDArray[np.uint8]) -> Tensor:
        """Every crop of every image as one strided view that costs no memory beyond the padding.

        Returns:
            uint8 ``(n, tops, lefts, channels, height, width)``, or ``(n, tops, lefts, height, width,
            channels)`` where batches are channels-last, so that either way the crop is gathered in the order
            in which it is yielded.
        """
        crop, (height, width) = self.augment.crop, images.shape[2:]
        padded = np.pad(images, ((0, 0), (0, 0), (crop, crop), (crop, crop)))
        if self.channels_last:
            last = np.ascontiguousarray(padded.transpose(0, 2, 3, 1))
            view = torch.from_numpy(last).to(self.device).unfold(1, height, 1).unfold(2, width, 1)
            return view.permute(0, 1, 2, 4, 5, 3)
        view = torch.from_numpy(padded).to(self.device).unfold(2, height, 1).unfold(3, width, 1)
        return view.permute(0, 2, 3, 1, 4, 5)
