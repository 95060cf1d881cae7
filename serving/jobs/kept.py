"""How what came of a chunk is kept: its record as compressed JSON, its images as a zip of files."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from holdfast.attacking.gathering import Gathered
from holdfast.images import encode_png
from serving.jobs.archives import Archive

_LEVEL = 6


def pack_record(gathered: Gathered) -> bytes:
    """A chunk's record, to be kept."""
    return zlib.compress(gathered.model_dump_json().encode(), _LEVEL)


def unpack_record(kept: bytes) -> Gathered:
    """The same again."""
    return Gathered.model_validate_json(zlib.decompress(kept))


def pack_images(
    numbers: Sequence[int],
    names: Sequence[str],
    adversarial: NDArray[np.float32],
    wanted: Sequence[bool],
    *,
    exact: bool,
) -> bytes:
    """The adversarial images of a chunk as PNG files, and exactly, if that is wanted.

    Args:
        numbers: (n) places of the images in the job.
        names: (n) as the images are called.
        adversarial: (n, channels, height, width).
        wanted: (n) whether each is kept: one that was wrong before the attack is the original.
        exact: Whether to keep the floats too, as ``.npy`` files.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as packed:
        for number, name, image, keep in zip(numbers, names, adversarial, wanted, strict=True):
            if not keep:
                continue
            stem = f"{number:06}-{PurePosixPath(name).stem}"
            packed.writestr(f"{stem}.png", encode_png(image))
            if exact:
                array = io.BytesIO()
                np.save(array, image, allow_pickle=False)
                packed.writestr(f"{stem}.npy", array.getvalue())
    return buffer.getvalue()


def unpack_images(kept: bytes) -> Iterator[tuple[str, bytes]]:
    """Every file of a chunk's images, by name."""
    archive = Archive(io.BytesIO(kept), most_entries=1 << 16, most_bytes=1 << 40)
    yield from archive.entries(1 << 40)
