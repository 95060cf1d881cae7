"""Images: untrusted bytes to float32 arrays, and arrays to PNG.

Arrays are float32 (channels, height, width) in [0, 1], as every model of Holdfast takes them. One function
decodes for the gateway and the command line alike, so that all backends see the same pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from holdfast.image_errors import (
    DamagedImageError,
    EmptyImageError,
    ImageError,
    NotAnImageError,
    TooManyBytesError,
    TooManyPixelsError,
    TruncatedImageError,
    UnsupportedFormatError,
)
from holdfast.image_header import ImageHeader, ImageLimits, read_header
from holdfast.manifest import InputSpec

__all__ = [
    "DEFAULT_LIMITS",
    "DamagedImageError",
    "EmptyImageError",
    "ImageError",
    "ImageLimits",
    "NotAnImageError",
    "TooManyBytesError",
    "TooManyPixelsError",
    "TruncatedImageError",
    "UnsupportedFormatError",
    "decode",
    "encode_png",
]

DEFAULT_LIMITS = ImageLimits()

_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(data: bytes, spec: InputSpec, limits: ImageLimits = DEFAULT_LIMITS) -> np.ndarray:
    """Decode a PNG, JPEG or WebP image to what a model takes.

    * The EXIF orientation is applied; of an animation the first frame counts; colour profiles are ignored.
    * Transparency is composited on white, which is what a picture with a transparent ground is drawn for.
    * 16-bit greyscale keeps its precision (x / 65535); 16-bit colour is read at 8 bits.
    * A model of one channel gets the luma of ITU-R BT.601, one of three channels the grey in all three.
    * An image of the model's size passes unchanged: exactly x / 255. Any other is scaled, its aspect kept,
      until it just covers the model's size, and what stands out is cut off evenly on both sides. Scaling
      is bicubic with antialiasing: sharper than bilinear, and with less ringing at hard edges than Lanczos.

    Args:
        data: The file's bytes; nothing about them is trusted.
        spec: The model's input.
        limits: Bytes and pixels accepted; both are checked before a pixel is decoded.

    Returns:
        float32 (channels, height, width) in [0, 1], contiguous.

    Raises:
        ImageError: One of its subclasses, see holdfast.image_errors; nothing else, whatever the bytes.
    """
    header = read_header(data, limits)
    image = _load(header)
    if spec.channels == 1 and image.mode == "RGB":
        image = image.convert("L")
    if header.orientation in _TRANSPOSE:
        image = image.transpose(_TRANSPOSE[header.orientation])
    if image.size != (spec.width, spec.height):
        image = _cover(image, spec.width, spec.height)
    pixels: np.ndarray = np.asarray(image, dtype=np.float32)
    # Bicubic overshoots at edges; Pillow cuts 8-bit images itself, and floating point ones not.
    pixels = np.clip(pixels / 65535, 0, 1) if image.mode == "F" else pixels / 255
    channels_first = pixels[np.newaxis] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return np.ascontiguousarray(np.broadcast_to(channels_first, spec.shape), dtype=np.float32)


def encode_png(image: np.ndarray, text: Mapping[str, str] | None = None) -> bytes:
    """Encode an image as PNG, which loses nothing but the rounding to 8 bits.

    Args:
        image: (channels, height, width) floats; one channel makes a greyscale PNG, three make a colour one.
            Values outside [0, 1] are cut off.
        text: What the file says of itself beside the pixels, by PNG's keywords, e.g. ``Description``.

    Raises:
        ValueError: Another shape, or a value that is not a number.
    """
    if image.ndim != 3 or image.shape[0] not in (1, 3) or 0 in image.shape:
        raise ValueError(f"an image has shape (1 or 3, height, width), not {image.shape}")
    if np.isnan(image).any():
        raise ValueError("an image holds numbers only; this one has NaN")
    pixels = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    info = PngInfo()
    for keyword, words in (text or {}).items():
        info.add_text(keyword, words)
    buffer = BytesIO()
    picture = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    picture.save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def _load(header: ImageHeader) -> Image.Image:
    """Decode to an opaque image of mode L, RGB, or F with 16-bit grey values."""
    try:
        with Image.open(BytesIO(header.payload), formats=[header.format]) as image:
            if image.size != (header.width, header.height):
                raise ValueError(f"its size is {image.size}, which its header does not say")
            image.load()
            return _opaque(image, header)
    except MemoryError:
        raise  # the machine's fault, not the image's: the limits have bounded what is asked for
    except Exception as error:  # noqa: BLE001 - Pillow raises what its parsers happen to run into
        if "truncated" in str(error).lower():
            raise TruncatedImageError(
                "The image is truncated: its end is missing.",
                hint="Send the whole file; an upload may have broken off.",
            ) from None
        raise DamagedImageError(
            f"The {header.format} image is damaged and cannot be decoded.",
            hint="Open it in an image editor and save it again.",
        ) from None


def _opaque(image: Image.Image, header: ImageHeader) -> Image.Image:
    if image.mode.startswith("I"):
        return Image.fromarray(_without_key(np.asarray(image), header, white=65535).astype(np.float32))
    if image.mode in ("LA", "RGBA") or "transparency" in image.info:
        ground = Image.new("RGBA", image.size, "white")
        ground.alpha_composite(image.convert("RGBA"))
        return ground.convert("RGB")
    opaque = image.convert("L" if image.mode in ("1", "L") else "RGB")
    if header.colour_key is None:
        return opaque
    return Image.fromarray(_without_key(np.asarray(opaque), header, white=255))


def _without_key(pixels: np.ndarray, header: ImageHeader, *, white: int) -> np.ndarray:
    """The pixels with those of the transparent colour replaced by white."""
    if header.colour_key is None:
        return pixels
    largest = 2**header.bit_depth - 1
    if header.bit_depth == 16 and white == 255:  # Pillow reads 16-bit colour by its higher byte
        key = [value >> 8 for value in header.colour_key]
    else:  # and spreads 1, 2 and 4 bits over 0 to 255
        key = [white * (value & largest) // largest for value in header.colour_key]
    transparent = (pixels.reshape(*pixels.shape[:2], -1) == key).all(axis=2)
    result = pixels.copy()
    result[transparent] = white
    return result


def _cover(image: Image.Image, width: int, height: int) -> Image.Image:
    """Scale the largest centred part of the target's aspect to the target's size, in one step."""
    if image.width * height > image.height * width:
        left, top = (image.width - image.height * width / height) / 2, 0.0
    else:
        left, top = 0.0, (image.height - image.width * height / width) / 2
    box = (left, top, image.width - left, image.height - top)
    return image.resize((width, height), Image.Resampling.BICUBIC, box=box)
