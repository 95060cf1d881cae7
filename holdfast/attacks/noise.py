"""Seeded noise for attacks, where the images are: drawn by numpy for any array, by torch on its device."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from array_api_compat import array_namespace, device

from holdfast.attacks.oracle import Array

if TYPE_CHECKING:
    import torch


class Noise(Protocol):
    """A stream of random arrays, each with one row for each image of a batch."""

    def uniform(self, like: Array, low: float, high: float) -> Array:
        """Uniform in [low, high), with the shape, type and device of ``like``."""

    def normal(self, like: Array) -> Array:
        """Standard normal, with the shape, type and device of ``like``."""


class ImageNoise:
    """A stream for each image of its own, so that what one image gets does not depend on its batch mates.

    Drawn by numpy: the same numbers for numpy and torch arrays, on every device and machine. An image's
    stream is a function of the seed and of the image's content, so that it does not depend on how a set of
    images is cut into batches either.

    Args:
        generators: One for each image; see :meth:`of`.
    """

    def __init__(self, generators: Sequence[np.random.Generator]) -> None:
        self._generators = list(generators)

    @classmethod
    def of(cls, seed: int, images: np.ndarray) -> ImageNoise:
        """The streams of the images (n, …) for a seed."""
        generators = []
        for image in images:
            digest = hashlib.blake2b(np.ascontiguousarray(image).tobytes(), digest_size=16).digest()
            entropy = (seed, int.from_bytes(digest, "little"))
            generators.append(np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy))))
        return cls(generators)

    def __len__(self) -> int:
        return len(self._generators)

    def take(self, rows: np.ndarray) -> ImageNoise:
        """The streams of some of the images; they go on where they are, and are not copies."""
        return ImageNoise([self._generators[row] for row in rows])

    def uniform(self, like: Array, low: float, high: float) -> Array:
        """See :meth:`Noise.uniform`; ``like`` has a row for each image."""
        shape = tuple(like.shape[1:])
        values = self._rows(like, [g.random(shape, dtype=np.float32) for g in self._generators])
        return _like(values * np.float32(high - low) + np.float32(low), like)

    def normal(self, like: Array) -> Array:
        """See :meth:`Noise.normal`; ``like`` has a row for each image."""
        shape = tuple(like.shape[1:])
        return _like(
            self._rows(like, [g.standard_normal(shape, dtype=np.float32) for g in self._generators]), like
        )

    def signs(self, like: Array, count: int) -> Array:
        """``count`` images of random signs for each image of ``like`` (n, …): (n, count, …) of -1 and 1.

        An image's signs are the same, whether they are drawn in one call or in several.
        """
        shape = tuple(like.shape[1:])
        size = math.prod(shape)
        whole = -(-size // 32) * 4  # bytes of whole words, which is what a generator draws
        drawn = [np.frombuffer(g.bytes(count * whole), dtype=np.uint8) for g in self._generators]
        bits = np.unpackbits(self._rows(like, drawn).reshape(-1, whole), axis=1, count=size)
        return _like((2 * bits.view(np.int8) - 1).reshape(-1, count, *shape), like)

    def integers(self, high: int | np.ndarray, size: int = 1) -> np.ndarray:
        """Integers in [0, high), (n, size) on the host; ``high`` is one for all images, or (n,)."""
        highs = np.broadcast_to(np.asarray(high), len(self._generators))
        drawn = [g.integers(0, h, size) for g, h in zip(self._generators, highs, strict=True)]
        return np.stack(drawn) if drawn else np.zeros((0, size), dtype=np.int64)

    def permutations(self, length: int) -> np.ndarray:
        """An order of ``length`` things for each image, (n, length) on the host."""
        drawn = [g.permutation(length) for g in self._generators]
        return np.stack(drawn) if drawn else np.zeros((0, length), dtype=np.int64)

    def _rows(self, like: Array, drawn: list[np.ndarray]) -> np.ndarray:
        if like.shape[0] != len(self._generators):
            raise ValueError(f"noise of {len(self._generators)} images asked for {like.shape[0]} rows")
        return np.stack(drawn) if drawn else np.zeros(tuple(like.shape), dtype=np.float32)


class SeededNoise:
    """One stream for a whole batch, drawn by numpy: the same numbers for numpy and torch arrays."""

    def __init__(self, seed: int) -> None:
        self._generator = np.random.Generator(np.random.PCG64(seed))

    def uniform(self, like: Array, low: float, high: float) -> Array:
        """See :meth:`Noise.uniform`."""
        values = self._generator.random(tuple(like.shape), dtype=np.float32)
        return _like(values * np.float32(high - low) + np.float32(low), like)

    def normal(self, like: Array) -> Array:
        """See :meth:`Noise.normal`."""
        return _like(self._generator.standard_normal(tuple(like.shape), dtype=np.float32), like)


class TorchNoise:
    """Drawn by a torch generator on its own device: no copy from the host, for use in training."""

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator

    def uniform(self, like: torch.Tensor, low: float, high: float) -> torch.Tensor:
        """See :meth:`Noise.uniform`."""
        return like.new_empty(like.shape).uniform_(low, high, generator=self._generator)

    def normal(self, like: torch.Tensor) -> torch.Tensor:
        """See :meth:`Noise.normal`."""
        return like.new_empty(like.shape).normal_(generator=self._generator)


def _like(values: np.ndarray, like: Array) -> Array:
    if isinstance(like, np.ndarray):
        return values.astype(like.dtype, copy=False)
    xp = array_namespace(like)
    return xp.asarray(values, dtype=like.dtype, device=device(like))
