"""Batches of images as ``.npy`` bytes: how the gateway hands float32 images to another process.

    HoldfastError
    └── ArrayError    the bytes are no batch of images that this model takes

The reader never unpickles, and decides from the header alone, before any memory is taken.
"""

from __future__ import annotations

import ast
import math
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from holdfast.errors import HoldfastError
from holdfast.manifest import InputSpec

#: The media type of these bytes. It is not registered; it is what others use.
MEDIA_TYPE = "application/x-npy"
#: How every .npy file begins.
MAGIC = b"\x93NUMPY"
#: A header says a type, an order and a shape.
MAX_HEADER = 1024
#: Rounding may carry a pixel this far out of [0, 1].
SLACK = 1e-6


class ArrayError(HoldfastError):
    """The bytes are no batch of images that this model takes."""


def encode(images: NDArray[np.float32]) -> bytes:
    """The ``.npy`` bytes of a batch, float32 (n, channels, height, width)."""
    buffer = BytesIO()
    np.save(buffer, np.ascontiguousarray(images, dtype=np.float32), allow_pickle=False)
    return buffer.getvalue()


def decode(data: bytes | bytearray, spec: InputSpec, *, max_images: int) -> NDArray[np.float32]:
    """Read a batch.

    Args:
        data: The whole file.
        spec: What the model takes.
        max_images: Refuse more than these.

    Returns:
        float32 (n, channels, height, width) in [0, 1], read-only, on the memory of ``data``.

    Raises:
        ArrayError: It is no .npy file, not float32, of another shape, or holds values outside [0, 1].
    """
    shape, offset = _read_header(data)
    if len(shape) != 4 or shape[1:] != spec.shape:
        wanted = ", ".join(str(side) for side in spec.shape)
        raise ArrayError(f"The array has the shape {shape}; this model takes (n, {wanted}).")
    if not 1 <= shape[0] <= max_images:
        raise ArrayError(f"The array holds {shape[0]} images; 1 to {max_images} are taken at a time.")
    size = 4 * math.prod(shape)
    if len(data) - offset != size:
        raise ArrayError(
            f"The array's header promises {size} bytes of pixels, and {len(data) - offset} follow it."
        )
    images = np.frombuffer(data, dtype="<f4", offset=offset).reshape(shape)
    images.flags.writeable = False
    check_range(images)
    return images


def check_range(images: NDArray[np.float32]) -> None:
    """Refuse what is not in [0, 1].

    Raises:
        ArrayError: A value is outside, or is no number.
    """
    low, high = float(images.min()), float(images.max())
    # Written so that a value that is not a number is refused too.
    if not (low >= -SLACK and high <= 1 + SLACK):
        raise ArrayError(f"The array's values run from {low:g} to {high:g}; images are in [0, 1].")


def _read_header(data: bytes | bytearray) -> tuple[tuple[int, ...], int]:
    """The array's shape, and where its pixels begin.

    numpy's own reader is meant for files one trusts: it repairs headers, warns, and fails in many ways.
    """
    magic = len(MAGIC)
    if not data.startswith(MAGIC) or len(data) < magic + 2:
        raise _not_an_array("they do not begin as one")
    length_bytes = {1: 2, 2: 4, 3: 4}.get(data[magic], 0)
    start = magic + 2 + length_bytes
    length = int.from_bytes(data[magic + 2 : start], "little")
    if not length_bytes or length > MAX_HEADER or len(data) < start + length:
        raise _not_an_array("the header has an unknown version or length")
    try:
        header = ast.literal_eval(bytes(data[start : start + length]).decode("ascii").strip())
        dtype, fortran_order, shape = header["descr"], header["fortran_order"], header["shape"]
        valid = isinstance(shape, tuple) and all(type(side) is int and side >= 0 for side in shape)
    except (ValueError, TypeError, KeyError, SyntaxError, RecursionError, MemoryError):
        valid = False
    if not valid:
        raise _not_an_array("the header cannot be read")
    if dtype != "<f4" or fortran_order is not False:
        raise ArrayError(
            "The array is not little-endian float32 in C order.",
            hint="Write it with numpy.save(file, numpy.ascontiguousarray(images, dtype='float32')).",
        )
    return shape, start + length


def _not_an_array(reason: str) -> ArrayError:
    return ArrayError(
        f"The bytes are no .npy array: {reason}.",
        hint="Write it with numpy.save(file, images.astype('float32')).",
    )
