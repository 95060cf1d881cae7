"""Seeded noise for attacks, where the images are: drawn by numpy for any array, by torch on its device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
from array_api_compat import array_namespace, device

from holdfast.attacks.oracle import Array

if TYPE_CHECKING:
    import torch


class Noise(Protocol):
    """A stream of random arrays."""

    def uniform(self, like: Array, low: float, high: float) -> Array:
        """Uniform in [low, high), with the shape, type and device of ``like``."""

    def normal(self, like: Array) -> Array:
        """Standard normal, with the shape, type and device of ``like``."""


class SeededNoise:
    """Drawn by numpy: the same numbers for numpy and torch arrays, on every device and machine."""

    def __init__(self, seed: int) -> None:
        self._generator = np.random.Generator(np.random.PCG64(seed))

    def uniform(self, like: Array, low: float, high: float) -> Array:
        """See :meth:`Noise.uniform`."""
        values = self._generator.random(tuple(like.shape), dtype=np.float32)
        return self._like(values * np.float32(high - low) + np.float32(low), like)

    def normal(self, like: Array) -> Array:
        """See :meth:`Noise.normal`."""
        return self._like(self._generator.standard_normal(tuple(like.shape), dtype=np.float32), like)

    @staticmethod
    def _like(values: np.ndarray, like: Array) -> Array:
        if isinstance(like, np.ndarray):
            return values.astype(like.dtype, copy=False)
        xp = array_namespace(like)
        return xp.asarray(values, dtype=like.dtype, device=device(like))


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
