"""Rows of numpy and torch arrays alike; indices are numpy's, on the host."""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace, device

from holdfast.attacks.oracle import Array

_NAMESPACES: dict[type, Any] = {}


def namespace(array: Array) -> Any:
    """The array API for an array: array_api_compat's, which is asked once for each kind of array."""
    kind = type(array)
    if kind not in _NAMESPACES:
        _NAMESPACES[kind] = array_namespace(array)
    return _NAMESPACES[kind]


def cut(array: Array, low: float, high: float) -> Array:
    """An array that nothing else needs, cut to [low, high]; in place where that saves memory and time."""
    if isinstance(array, np.ndarray):
        return np.clip(array, low, high, out=array)
    return array_namespace(array).clip(array, low, high)


def take(array: Array, rows: np.ndarray) -> Array:
    """The rows of that index, as a copy.

    Args:
        array: (n, …).
        rows: (k,) integers.
    """
    if isinstance(array, np.ndarray):
        return array[rows]
    xp = array_namespace(array)
    return xp.take(array, xp.asarray(rows, device=device(array)), axis=0)


def put(array: Array, rows: np.ndarray, values: Array) -> None:
    """Replace rows of ``array`` (n, …), in place, by ``values`` (k, …)."""
    if isinstance(array, np.ndarray):
        array[rows] = values
    else:
        array[array_namespace(array).asarray(rows, device=device(array))] = values


def copy(array: Array) -> Array:
    """A copy that may be written to."""
    return array.copy() if isinstance(array, np.ndarray) else array.detach().clone()


def to_numpy(array: Array) -> np.ndarray:
    """An array of either kind on the host."""
    return np.asarray(array.detach().cpu() if hasattr(array, "detach") else array)


def like(values: np.ndarray, array: Array) -> Array:
    """Values of the host as an array of the kind and on the device of ``array``; their type is kept."""
    if isinstance(array, np.ndarray):
        return values
    return array_namespace(array).asarray(values, device=device(array))


def each(vector: Array) -> Array:
    """A vector over images (n,), shaped (n, 1, 1, 1) to meet whole images."""
    return vector[:, None, None, None]
