"""Random draws that are a function of where they are used, so that nothing has to be stored to resume.

Philox is counter-based and NumPy promises that its raw words never change, which is not promised for
``Generator.permutation`` or ``torch.randperm``: a run resumed under a newer library sees the same batches.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import numpy.typing as npt


class Stream(IntEnum):
    """What the words are for; draws of different streams are independent."""

    ORDER = 0
    AUGMENTATION = 1
    SPLIT = 2
    MEASURED = 3


def words(count: int, *, seed: int, stream: Stream, index: int = 0) -> npt.NDArray[np.uint64]:
    """Return ``count`` random 64-bit words, the same for the same ``(seed, stream, index)`` for ever."""
    # SeedSequence refuses negative numbers and hashes the rest so that neighbouring seeds share nothing.
    bits = np.random.Philox(np.random.SeedSequence((seed, int(stream), index)))
    return np.asarray(bits.random_raw(count), dtype=np.uint64)


def permutation(count: int, *, seed: int, stream: Stream, index: int = 0) -> npt.NDArray[np.int64]:
    """Return a random order of ``range(count)``, the same for the same ``(seed, stream, index)`` for ever."""
    keys = words(count, seed=seed, stream=stream, index=index)
    return np.argsort(keys, kind="stable").astype(np.int64)


def below(limit: int, bits: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """Map 24-bit numbers to ``range(limit)``, evenly up to one part in 2**24 / limit."""
    return ((bits * np.uint64(limit)) >> np.uint64(24)).astype(np.int64)
