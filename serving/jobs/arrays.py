"""Reading images out of ``.npz`` files that nobody vouches for. Nothing in them is ever unpickled."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Literal

import numpy as np
from numpy.typing import NDArray

from holdfast.errors import HoldfastError
from holdfast.images import encode_png
from serving.jobs.archives import Archive
from serving.jobs.limits import TooManyBytesError
from serving.jobs.plan import Item

Layout = Literal["auto", "nchw", "nhwc"]

#: Names under which images and their labels are looked for, in pairs. The test images go before the others.
_PAIRS = (
    ("test_images", "test_labels"),
    ("x_test", "y_test"),
    ("images", "labels"),
    ("x", "y"),
    ("data", "targets"),
    ("arr_0", "arr_1"),
)

#: Images that are read, and turned into files, at a time.
_BLOCK = 256

_LARGEST_HEADER = 10_000
_CHANNELS = (1, 3)


class ArraysError(HoldfastError):
    """The file holds no images that can be used."""


@dataclass(frozen=True)
class ArraysHeader:
    """What a file says of itself, before anything of it is unpacked.

    Attributes:
        images: The name of the array.
        labels: The name of theirs, if there is one.
        shape: Of the images.
        dtype: Of the images.
        layout: Where their channels are; ``hw`` for grey images without them.
    """

    images: str
    labels: str | None
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    layout: Literal["nchw", "nhwc", "hw"]

    @property
    def count(self) -> int:
        """How many images there are."""
        return self.shape[0]

    @property
    def size(self) -> tuple[int, int, int]:
        """Channels, height and width of each."""
        if self.layout == "hw":
            return 1, self.shape[1], self.shape[2]
        order = (1, 2, 3) if self.layout == "nchw" else (3, 1, 2)
        return self.shape[order[0]], self.shape[order[1]], self.shape[order[2]]


def read_header(archive: Archive, layout: Layout = "auto") -> ArraysHeader:
    """Find the images and their labels in a file.

    Raises:
        ArraysError: There are none, or their shape or type is none of images.
    """
    names = {name.removesuffix(".npy"): name for name in archive.names if name.endswith(".npy")}
    images, labels = next((pair for pair in _PAIRS if pair[0] in names), (None, None))
    if images is None:
        raise ArraysError(
            f"The .npz file has no array of images; it has: {', '.join(sorted(names)[:20]) or 'nothing'}.",
            hint="Call the images 'images', and their classes 'labels'.",
        )
    with archive.open(names[images]) as file:
        shape, _, dtype = _read_header(file, images)
    return ArraysHeader(
        images=names[images],
        labels=names.get(labels or ""),
        shape=shape,
        dtype=dtype,
        layout=_find_layout(shape, layout),
    )


def read_items(
    archive: Archive,
    header: ArraysHeader,
    *,
    first: int = 0,
    count: int | None = None,
    most_bytes: int,
) -> Iterator[Item]:
    """The images, those of bytes as PNG files, those of floats exactly.

    Args:
        archive: The file.
        header: Of this file.
        first: The first image's place.
        count: How many; all from there, if not said.
        most_bytes: Bytes that the chosen images may take.

    Raises:
        TooManyBytesError: They are too large.
        ArraysError: They hold what is no number from 0 to 1, or the labels do not fit.
    """
    stop = header.count if count is None else min(header.count, first + count)
    size = math.prod(header.shape[1:]) * header.dtype.itemsize
    if size * max(0, stop - first) > most_bytes:
        raise TooManyBytesError(most_bytes)
    labels = _read_labels(archive, header)
    with archive.open(header.images) as file:
        shape, fortran, dtype = _read_header(file, header.images)
        if fortran:
            raise ArraysError("The images are in Fortran's order.", hint="Save np.ascontiguousarray(images).")
        _skip(file, first * size)
        for start in range(first, stop, _BLOCK):
            rows = min(_BLOCK, stop - start)
            content = _read_exactly(file, rows * size)
            block = np.frombuffer(content, dtype=dtype).reshape(rows, *shape[1:])
            for row, image in enumerate(_channels_first(block, header)):
                number = start + row
                yield _item(image, number, None if labels is None else str(int(labels[number])))


def _item(image: NDArray[np.generic], number: int, label: str | None) -> Item:
    if image.dtype == np.uint8:
        return Item(f"{number:06}.png", encode_png(image.astype(np.float32) / 255), label=label)
    exact = np.ascontiguousarray(image, dtype=np.float32)
    if not (np.isfinite(exact).all() and exact.min() >= 0 and exact.max() <= 1):
        raise ArraysError(
            f"Image {number} has values outside [0, 1].",
            hint="Divide by 255, and leave normalisation to the model: it is its first layer.",
        )
    return Item(f"{number:06}.npy", exact.tobytes(), exact=True, label=label)


def _channels_first(block: NDArray[np.generic], header: ArraysHeader) -> NDArray[np.generic]:
    if header.layout == "hw":
        return block[:, np.newaxis]
    return block if header.layout == "nchw" else block.transpose(0, 3, 1, 2)


def _find_layout(shape: tuple[int, ...], asked: Layout) -> Literal["nchw", "nhwc", "hw"]:
    if len(shape) == 3:
        return "hw"
    if len(shape) != 4:
        raise ArraysError(f"The images have the shape {shape}; it is to be (n, c, h, w) or (n, h, w, c).")
    first, last = shape[1] in _CHANNELS, shape[3] in _CHANNELS
    if asked == "auto":
        if first and last:
            raise ArraysError(
                f"The shape {shape} may be (n, c, h, w) or (n, h, w, c).",
                hint="Say layout=nchw or layout=nhwc.",
            )
        asked = "nchw" if first else "nhwc"
    if not (first if asked == "nchw" else last):
        raise ArraysError(f"Images of the shape {shape} have not 1 or 3 channels where {asked} has them.")
    return asked


def _read_header(file: IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    try:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, fortran, dtype = read[version](file, max_header_size=_LARGEST_HEADER)
    except (ValueError, KeyError, EOFError, OSError):
        raise ArraysError(f"The array '{name}' is damaged.") from None
    if dtype.hasobject or dtype.kind not in "uif" or min(shape, default=0) < 1:
        raise ArraysError(
            f"The array '{name}' is {dtype}{list(shape)}, which is no array of images or labels."
        )
    if dtype.kind in "ui" and len(shape) > 2 and dtype != np.uint8:
        raise ArraysError(f"The images are {dtype}; they are to be uint8, or floats in [0, 1].")
    return shape, fortran, dtype


def _read_labels(archive: Archive, header: ArraysHeader) -> NDArray[np.int64] | None:
    if header.labels is None:
        return None
    with archive.open(header.labels) as file:
        shape, _, dtype = _read_header(file, header.labels)
        if shape != (header.count,) or dtype.kind not in "ui":
            raise ArraysError(f"The labels are {dtype}{list(shape)}; there is to be a number for each image.")
        content = _read_exactly(file, header.count * dtype.itemsize)
    return np.frombuffer(content, dtype=dtype).astype(np.int64)


def _skip(file: IO[bytes], size: int) -> None:
    while size > 0:
        size -= len(_read_exactly(file, min(size, 1 << 20)))


def _read_exactly(file: IO[bytes], size: int) -> bytes:
    content = file.read(size)
    if len(content) != size:
        raise ArraysError("The array file is shorter than its header says.", hint="Send the whole file.")
    return content
