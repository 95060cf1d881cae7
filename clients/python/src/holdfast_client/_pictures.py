"""Images in results."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast_client._errors import MissingDependencyError

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A lossless image of a result: a PNG file.

    >>> result.adversarial.save("adversarial.png")
    >>> client.classify(result.adversarial.png)

    Attributes:
        width: In pixels.
        height: In pixels.
        base64: The file.
    """

    width: int
    height: int
    base64: str

    @property
    def png(self) -> bytes:
        """The file's bytes."""
        return decoded(self.base64)

    @property
    def image(self) -> Image.Image:
        """The picture as a PIL image.

        Raises:
            MissingDependencyError: Pillow is not installed.
        """
        return open_image(self.png)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the file; where."""
        place = Path(path)
        place.write_bytes(self.png)
        return place

    def __repr__(self) -> str:
        """Its size, and not its bytes."""
        return f"<{type(self).__name__} {self.width}x{self.height}>"

    def _repr_png_(self) -> bytes:
        return self.png


@dataclass(frozen=True, kw_only=True, repr=False)
class PerturbationPicture(Picture):
    """What an attack changed, around mid-grey.

    Attributes:
        scale: How many times larger than life it is shown.
    """

    scale: float


@dataclass(frozen=True, kw_only=True)
class ExactImage:
    """An exact result, before rounding to 8 bits, as a ``.npy`` file.

    Attributes:
        dtype: ``float32``.
        shape: (1, channels, height, width); values in [0, 1].
        base64: The file.
    """

    dtype: str
    shape: tuple[int, ...]
    base64: str

    @property
    def npy(self) -> bytes:
        """The file's bytes."""
        return decoded(self.base64)

    def numpy(self) -> Any:
        """The array, float32 (1, channels, height, width).

        Raises:
            MissingDependencyError: numpy is not installed.
        """
        try:
            import numpy as np
        except ImportError:
            raise MissingDependencyError("This needs numpy.", "pip install numpy") from None
        return np.load(io.BytesIO(self.npy), allow_pickle=False)

    def __repr__(self) -> str:
        """Its shape, and not its bytes."""
        return f"<ExactImage {self.dtype} {self.shape}>"


def open_image(content: bytes) -> Image.Image:
    """A PIL image of a file's bytes.

    Raises:
        MissingDependencyError: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError:
        raise MissingDependencyError("This needs Pillow.", "pip install 'holdfast-client[images]'") from None
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def decoded(text: str) -> bytes:
    """The bytes that base64 stands for."""
    import binascii

    return binascii.a2b_base64(text)
