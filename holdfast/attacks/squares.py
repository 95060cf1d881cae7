"""The squares of Square Attack (Andriushchenko et al. 2020): how large, where and of what shape."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from holdfast.attacks.noise import ImageNoise

#: After how many of 10,000 queries the share of changed pixels is halved (Sec. 4.1 and the authors' code).
_HALVED = np.array([10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000])


def side(query: int, share: float, pixels: int, budget: int | None) -> int:
    """The side of a square, in pixels.

    Args:
        query: Queries made so far.
        share: Of the pixels that the first squares change.
        pixels: Of the image.
        budget: If given, the schedule is stretched over so many queries.
    """
    reached = query if budget is None else int(query / budget * 10_000)
    now = share * 0.5 ** int(np.count_nonzero(reached > _HALVED))
    return max(round(math.sqrt(now * pixels)), 1)


def windows(draws: np.ndarray, size: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Squares of one size at random places.

    Args:
        draws: (n, 2), uniform in [0, 1).
        size: Of their sides.
        height: Of the images.
        width: Of the images.

    Returns:
        Which pixels are in the square, (n, 1, h, w) bool, and its top left corner, (n, 2).
    """
    free = np.array([height - size + 1, width - size + 1])
    corners = np.floor(draws.astype(np.float64) * free).astype(np.int64)
    down = _within(corners[:, 0], size, height)
    across = _within(corners[:, 1], size, width)
    return down[:, None, :, None] & across[:, None, None, :], corners


def hills(size: int, corners: np.ndarray, turned: np.ndarray, height: int, width: int) -> np.ndarray:
    """A pair of hills for each image, (n, 1, h, w) float32, at the square with that corner; 0 elsewhere.

    Args:
        size: Of the square.
        corners: (n, 2), top left.
        turned: (n,) bool, whether the pair stands side by side rather than one above the other.
        height: Of the images.
        width: Of the images.
    """
    down = np.arange(height) - corners[:, :1]
    across = np.arange(width) - corners[:, 1:]
    inside = ((down >= 0) & (down < size))[:, :, None] & ((across >= 0) & (across < size))[:, None, :]
    down, across = np.clip(down, 0, size - 1)[:, :, None], np.clip(across, 0, size - 1)[:, None, :]
    pair = _pair(size)
    turn = turned[:, None, None]
    values = pair[np.where(turn, across, down), np.where(turn, down, across)]
    found: np.ndarray = np.where(inside, values, np.float32(0))[:, None]
    return found


def tiles(noise: ImageNoise, shape: tuple[int, ...]) -> np.ndarray:
    """Where the search in L2 starts: five by five pairs of hills, each with a random sign and turn.

    Args:
        noise: A stream for each image.
        shape: (n, c, h, w).

    Returns:
        (n, c, h, w) float32.
    """
    count, channels, height, width = shape
    size = max(min(height, width) // 5, 1)
    down, across = height // size, width // size
    draws = noise.uniform(np.empty((count, 1 + channels, down, across), dtype=np.float32), -1.0, 1.0)
    pair = _pair(size)
    turned = np.where(draws[:, :1, :, :, None, None] >= 0, pair, pair.T)
    signs = np.where(draws[:, 1:, :, :, None, None] >= 0, 1, -1)
    laid = (turned * signs).swapaxes(3, 4).reshape(count, channels, down * size, across * size)
    found = np.zeros(shape, dtype=np.float32)
    top, left = (height - down * size) // 2, (width - across * size) // 2
    found[:, :, top : top + down * size, left : left + across * size] = laid
    return found


def _within(corner: np.ndarray, size: int, extent: int) -> np.ndarray:
    place = np.arange(extent)
    found: np.ndarray = (place >= corner[:, None]) & (place < corner[:, None] + size)
    return found


@lru_cache(maxsize=64)
def _pair(size: int) -> np.ndarray:
    """A hill over a valley in a square, of length one: η of the supplement, eq. 2 and 3."""
    half = size // 2
    pair = np.concatenate([_hill(half, size), -_hill(size - half, size)])
    pair /= np.linalg.norm(pair)
    return pair.astype(np.float32)


def _hill(height: int, width: int) -> np.ndarray:
    """Nested squares around the middle, the k-th of height 1/(k + 1)², of length one together."""
    if not height:
        return np.zeros((0, width))
    down, across = np.abs(np.arange(height) - height // 2), np.abs(np.arange(width) - width // 2)
    steps = 1 / np.arange(1, max(height // 2, width // 2) + 2) ** 2
    above = np.cumsum(steps[::-1])[::-1]  # all squares that a pixel is in, by its distance from the middle
    hill = above[np.maximum(down[:, None], across[None])]
    found: np.ndarray = hill / np.linalg.norm(hill)
    return found
