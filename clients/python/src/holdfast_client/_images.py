"""What may be given as an image, and the bytes that are sent of it.

A library is recognised by what its objects are, and never imported: who passes a tensor has torch.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any, BinaryIO, Literal, Union

from holdfast_client._arrays import is_array, png_of_array
from holdfast_client._errors import ImageInputError

#: A path, the bytes of a file, an open file, a PIL image, a numpy array or a torch tensor. The last three
#: have no type here, because none of them is needed.
ImageInput = Union[str, "os.PathLike[str]", bytes, bytearray, memoryview, BinaryIO, Any]

#: Where an array has its channels.
Layout = Literal["auto", "hwc", "chw"]

#: By a file's first bytes. The server looks for itself; this is for whoever reads the traffic.
_SIGNATURES = ((b"\x89PNG\r\n\x1a\n", "png"), (b"\xff\xd8\xff", "jpeg"))

#: Modes of PIL that PNG has as they are; of the others RGB is made.
_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")


def encode_image(image: ImageInput, *, layout: Layout = "auto") -> bytes:
    """The bytes of an image file: those that were given, or a PNG of a PIL image, array or tensor.

    Every method that takes an image calls this; call it yourself where an array's layout has to be said.

    Args:
        image: A path; the bytes of a PNG, JPEG or WebP file; a file that is open for reading bytes; a PIL
            image; a numpy array or a torch tensor, of uint8 or of floats in [0, 1], of shape (H, W),
            (H, W, C) or (C, H, W) with 1, 3 or 4 channels, or any of these with a first dimension of 1 more.
        layout: Where an array of three dimensions has its channels. ``auto`` is where a dimension of 1, 3
            or 4 is, first or last; where both are, last in a numpy array and first in a torch tensor.

    Raises:
        ImageInputError: It is none of these, or an array that is no image. Floats are rounded to 8 bits.

    >>> client.classify(encode_image(array, layout="chw"))
    """
    if isinstance(image, (bytes, bytearray, memoryview)):
        content = bytes(image)
    elif isinstance(image, (str, os.PathLike)):
        content = _read(Path(image))
    elif hasattr(image, "read"):
        content = _read_file(image)
    elif is_array(image):
        return png_of_array(image, layout)
    elif hasattr(image, "save") and hasattr(image, "mode") and hasattr(image, "convert"):
        return _png_of_pil(image)
    else:
        raise ImageInputError(
            f"A {type(image).__name__} is no image.",
            "Give a path, bytes, an open file, a PIL image, a numpy array or a torch tensor.",
        )
    if not content:
        raise ImageInputError("The image is empty.", "Check that the file has content.")
    return content


def media_type(content: bytes) -> str:
    """The type of an image file, by its first bytes; ``application/octet-stream`` if it is none of them."""
    for signature, name in _SIGNATURES:
        if content.startswith(signature):
            return f"image/{name}"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    return "application/octet-stream"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImageInputError(f"{path} cannot be read: {error.strerror or error}.") from error


def _read_file(file: Any) -> bytes:
    try:
        content = file.read()
    except (OSError, ValueError) as error:  # the latter of a file that is closed, or no text that can be read
        raise ImageInputError(f"The file cannot be read: {error}.") from error
    if not isinstance(content, bytes):
        raise ImageInputError("The file is open for text.", "Open it with mode 'rb'.")
    return content


def _png_of_pil(image: Any) -> bytes:
    if image.mode in ("F", "I"):
        raise ImageInputError(
            f"A PIL image of mode {image.mode} has no scale of its own.", "Convert it to L or RGB first."
        )
    try:
        return _as_png(image)
    except MemoryError:
        raise  # the machine's fault, not the image's
    except Exception as error:  # PIL reads a file only now, and raises what its parsers happen to run into
        raise ImageInputError(
            f"The PIL image of mode {image.mode} cannot be read: {error}.",
            "Check that its file is whole, or convert it to L or RGB first.",
        ) from error


def _as_png(image: Any) -> bytes:
    if image.mode.startswith("I;16") and image.mode != "I;16":  # 16 bits in another order
        image = image.convert("I").convert("I;16")
    buffer = io.BytesIO()
    (image if image.mode in _PNG_MODES else image.convert("RGB")).save(buffer, "PNG")
    return buffer.getvalue()
