"""The images that are sent: the examples as they are, and photographs' size made of them."""

from __future__ import annotations

from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_EXAMPLES = Path(__file__).resolve().parent.parent / "examples" / "images"

#: Width and height of what a telephone's browser sends, and of a screenshot.
_PHOTOGRAPH, _SCREENSHOT = (1920, 1440), (1024, 768)
#: Sensor noise, in steps of 255: without any, a scaled-up image packs into a tenth of what a photograph does.
_NOISE, _TILE = 6, 256
_LARGE = 2


@cache
def small() -> dict[str, bytes]:
    """The example images, as PNG files by name."""
    return {path.stem: path.read_bytes() for path in sorted(_EXAMPLES.glob("*.png"))}


@cache
def large() -> dict[str, tuple[str, bytes]]:
    """Large images by name: media type and file. They are made the first time, which takes a moment.

    Photographs are JPEG files of three megapixels, screenshots PNG files of one.
    """
    found: dict[str, tuple[str, bytes]] = {}
    for number, (name, data) in enumerate(list(small().items())[:_LARGE]):
        image = Image.open(BytesIO(data)).convert("RGB")
        found[f"{name}.jpg"] = ("image/jpeg", _encode(_grown(image, _PHOTOGRAPH, number), "JPEG", quality=88))
        found[f"{name}.png"] = (
            "image/png",
            _encode(_grown(image, _SCREENSHOT, number), "PNG", compress_level=1),
        )
    return found


def tensor(name: str, channels: int, height: int, width: int) -> NDArray[np.float32]:
    """An example image as a model takes it: float32, (1, channels, height, width), in [0, 1]."""
    image = Image.open(BytesIO(small()[name])).convert("L" if channels == 1 else "RGB")
    pixels = np.asarray(image.resize((width, height), Image.Resampling.BOX), dtype=np.float32) / 255
    return np.ascontiguousarray(np.atleast_3d(pixels).transpose(2, 0, 1)[None])


def _grown(image: Image.Image, size: tuple[int, int], seed: int) -> Image.Image:
    grown = np.asarray(image.resize(size, Image.Resampling.BICUBIC), dtype=np.int16)
    # One tile of it, again and again: drawing millions of numbers would take longer than all the rest.
    tile = np.random.default_rng(seed).integers(-_NOISE, _NOISE + 1, (_TILE, _TILE, 3), dtype=np.int16)
    repeats = (-(-size[1] // _TILE), -(-size[0] // _TILE), 1)
    noise = np.tile(tile, repeats)[: size[1], : size[0]]
    return Image.fromarray((grown + noise).clip(0, 255).astype(np.uint8))


def _encode(image: Image.Image, form: str, **options: int) -> bytes:
    buffer = BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()
