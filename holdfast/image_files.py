"""Files of images as the commands take them: files and folders as they are named, decoded for a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.errors import HoldfastError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from holdfast.manifest import InputSpec

#: What a folder is searched for. The content decides whether a file is an image, not its name.
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp"})


@dataclass(frozen=True)
class ImageFile:
    """A file that is to be read as an image.

    Attributes:
        path: Where it is.
        place: Its path below the folder that was named; its name, where the file itself was.
    """

    path: Path
    place: Path

    def __str__(self) -> str:
        return str(self.path)


def find_images(named: Sequence[Path]) -> list[ImageFile]:
    """Files as they are named; folders as the images anywhere in them, in order, hidden ones left out.

    Raises:
        UsageError: There are none.
    """
    found = [file for path in named for file in _find(path)]
    if not found:
        raise UsageError(
            f"There are no images in {', '.join(str(path) for path in named)}.",
            hint=f"Directories are searched for {', '.join(sorted(SUFFIXES))}.",
        )
    return found


def read_image(path: Path, spec: InputSpec) -> np.ndarray:
    """Decode a file to what a model takes; no more of it is read than the limits allow.

    Returns:
        float32 (channels, height, width) in [0, 1]; see :func:`holdfast.images.decode`.

    Raises:
        HoldfastError: The file cannot be read, or is no image that can be used.
    """
    from holdfast.images import DEFAULT_LIMITS, decode

    try:
        with path.open("rb") as file:
            data = file.read(DEFAULT_LIMITS.max_bytes + 1)
    except OSError as error:
        raise HoldfastError(f"The file cannot be read: {error.strerror or error}.") from None
    return decode(data, spec)


def _find(path: Path) -> Iterator[ImageFile]:
    if not path.is_dir():
        yield ImageFile(path, Path(path.name))
        return
    for inner in sorted(path.rglob("*")):
        place = inner.relative_to(path)
        hidden = any(part.startswith(".") for part in place.parts)
        if inner.suffix.lower() in SUFFIXES and inner.is_file() and not hidden:
            yield ImageFile(inner, place)
