"""Images as nobody should send them and somebody does: broken, hostile, rare. The same each time."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

NOISE = np.random.default_rng(0).integers(0, 256, (6, 8, 4), dtype=np.uint8)
_MAGIC = b"\x89PNG\r\n\x1a\n"


def encoded(image: Image.Image | np.ndarray, form: str = "PNG", **options: Any) -> bytes:
    """An image as a file of that format, by Pillow."""
    buffer = BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(buffer, form, **options)
    return buffer.getvalue()


def png(width: int, height: int, depth: int, kind: int, rows: bytes, **chunks: bytes) -> bytes:
    """A PNG written by hand, for what Pillow cannot write. Rows begin with their filter byte, 0."""
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    extra = b"".join(chunk(name.encode(), body) for name, body in chunks.items())
    data = chunk(b"IDAT", zlib.compress(rows))
    return _MAGIC + chunk(b"IHDR", header) + extra + data + chunk(b"IEND", b"")


def chunk(name: bytes, body: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def repaired(data: bytes) -> bytes:
    """A PNG with its checksums made right again, so that the damage gets past them."""
    if not data.startswith(_MAGIC):
        return data
    result, position = bytearray(data), 8
    while position + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        end = position + 8 + length
        if end + 4 > len(data):
            break
        struct.pack_into(">I", result, end, zlib.crc32(data[position + 4 : end]))
        position = end + 4
    return bytes(result)


def bombs() -> dict[str, bytes]:
    """Small files whose headers claim more than any limit."""
    jpeg = bytearray(encoded(NOISE[..., :3], "JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 60_000, 60_000)
    lossy = bytearray(encoded(NOISE[..., :3], "WEBP"))
    lossy[26:30] = struct.pack("<HH", 16383, 16383)
    lossless = bytearray(encoded(NOISE[..., :3], "WEBP", lossless=True))
    lossless[21:25] = struct.pack("<I", 16383 | 16383 << 14)
    animated = bytearray(
        encoded(NOISE[..., :3], "WEBP", save_all=True, append_images=[Image.new("RGB", (8, 6))])
    )
    animated[24:30] = b"\xff\xff\x00\xff\xff\x00"
    return {
        "png": png(100_000, 100_000, 8, 2, b"\0"),
        "png in one row": png(2**31 - 1, 1, 8, 2, b"\0"),
        "jpeg": bytes(jpeg),
        "webp lossy": bytes(lossy),
        "webp lossless": bytes(lossless),
        "webp animated": bytes(animated),
    }


def rare() -> dict[str, bytes]:
    """Whole images, of kinds that are rare: all of them are to be read."""
    colour, grey = Image.fromarray(NOISE[..., :3]), Image.fromarray(NOISE[..., 0])
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "maker"
    frames: dict[str, Any] = {"save_all": True, "append_images": [Image.new("RGB", (8, 6), "red")]}
    found = {
        "png": encoded(colour),
        "png grey": encoded(grey),
        "png alpha": encoded(Image.fromarray(NOISE)),
        "png 16 bits": encoded(NOISE[..., 0].astype(np.uint16) * 257),
        "png palette": encoded(colour.quantize(5), transparency=1),
        "png with profile": encoded(colour, exif=exif, icc_profile=b"p" * 50),
        "png animated": encoded(colour, **frames),
        "jpeg": encoded(colour, "JPEG"),
        "jpeg grey": encoded(grey, "JPEG"),
        "jpeg progressive": encoded(colour, "JPEG", progressive=True, exif=exif, comment=b"c"),
        "jpeg cmyk": encoded(colour.convert("CMYK"), "JPEG"),
        "mpo": encoded(colour, "MPO", **frames),
        "webp": encoded(colour, "WEBP"),
        "webp lossless": encoded(Image.fromarray(NOISE), "WEBP", lossless=True, exif=exif),
        "webp animated": encoded(colour, "WEBP", **frames),
        "png transparent grey": png(8, 6, 8, 0, (b"\0" + bytes(8)) * 6, tRNS=b"\0\0"),
    }
    for side in (1, 2, 7, 31, 33, 257):
        found[f"png of {side} by 1"] = encoded(Image.new("RGB", (side, 1), "red"))
        found[f"png of 1 by {side}"] = encoded(Image.new("L", (1, side), 7))
    for depth in (1, 2, 4, 8, 16):
        row = b"\0" + bytes((8 * depth + 7) // 8)
        found[f"png grey of {depth} bits"] = png(8, 6, depth, 0, row * 6)
    found["png colour of 16 bits"] = png(8, 6, 16, 2, (b"\0" + bytes(48)) * 6)
    for orientation in range(9):
        turned = Image.Exif()
        turned[0x0112] = orientation
        found[f"jpeg turned {orientation}"] = encoded(colour, "JPEG", exif=turned)
    # Its stream ends as it should, and Pillow leaves the rows that are not there black.
    found["png with too few rows"] = png(8, 6, 8, 2, (b"\0" + bytes(24)) * 2)
    found["png that unpacks to far more than it is"] = encoded(Image.new("L", (3000, 3000)))
    found["png with a comment of 100 kB"] = png(
        1, 1, 8, 0, b"\0\0", zTXt=b"c\0\0" + zlib.compress(bytes(10**5))
    )
    return found


def broken() -> dict[str, bytes]:
    """What cannot be read, each for a reason of its own."""
    whole = rare()
    jpeg = whole["jpeg progressive"]
    scan = jpeg.index(b"\xff\xda")
    twelve = bytearray(whole["jpeg"])
    twelve[twelve.index(b"\xff\xc0") + 4] = 12
    found = {
        "nothing": b"",
        "one byte": b"\x89",
        "text": b"hello, world",
        "html": b"<!doctype html><title>404</title>",
        "json": b'{"image": "aGVsbG8="}',
        "base64 of a png": b"iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ",
        "zeros": bytes(1000),
        "a pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
        "an svg": b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>',
        "an svg that asks for a file": b'<svg><image href="file:///etc/passwd"/></svg>',
        "a heif": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        "a program": b"\x7fELF\x02\x01\x01" + bytes(100),
        "a zip": b"PK\x03\x04" + bytes(100),
        "an eps": b"%!PS-Adobe-3.0 EPSF-3.0\n(x) run\n",
        "png magic alone": _MAGIC,
        "png without pixels": _MAGIC + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 6, 8, 2, 0, 0, 0)),
        "png of no width": png(0, 6, 8, 2, b"\0"),
        "png of no height": png(6, 0, 8, 2, b"\0"),
        "png of a depth that is none": png(8, 6, 3, 0, b"\0" * 60),
        "png of a colour that is none": png(8, 6, 8, 5, b"\0" * 60),
        "png palette without palette": png(8, 6, 8, 3, (b"\0" + bytes(8)) * 6),
        "png with a filter that is none": png(8, 6, 8, 2, (b"\x09" + bytes(24)) * 6),
        "png whose pixels are no zlib": _MAGIC
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 6, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", b"not zlib at all")
        + chunk(b"IEND", b""),
        "png of endless chunks": _MAGIC + b"\0\0\0\0abcd\0\0\0\0" * 70_000,
        "png whose chunk is longer than all memory": _MAGIC + b"\xff\xff\xff\xffIHDR" + bytes(20),
        "jpeg magic alone": b"\xff\xd8\xff",
        "jpeg of endless segments": b"\xff\xd8" + b"\xff\xfe\0\2" * 70_000,
        "jpeg of endless scans": jpeg[:-2] + jpeg[scan:-2] * 100 + jpeg[-2:],
        "jpeg of 12 bits": bytes(twelve),
        "webp magic alone": b"RIFF\x04\0\0\0WEBP",
        "webp of a chunk that is none": b"RIFF\x10\0\0\0WEBPXXXX\x04\0\0\0abcd",
    }
    for form in ("GIF", "BMP", "TIFF", "ICO", "JPEG2000", "AVIF", "PPM", "TGA", "PCX", "DDS", "ICNS"):
        found[f"a {form}"] = encoded(Image.new("RGB", (16, 16), "red"), form)
    large = np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for form in ("PNG", "JPEG", "WEBP"):
        data = encoded(large, form)
        for share in (0.01, 0.1, 0.3, 0.6, 0.9):
            found[f"{form} cut off at {share:.0%}"] = data[: int(len(data) * share)]
    return {**found, **{f"bomb: {name}": data for name, data in bombs().items()}}


def mutants(count: int) -> Iterator[tuple[str, bytes]]:
    """Whole images with a few bytes changed, taken out or put in; whether they can be read is not said."""
    dice = random.Random(20)
    whole = sorted(rare().items())
    for number in range(count):
        name, data = whole[number % len(whole)]
        changed = bytearray(data)
        for _ in range(dice.randint(1, 5)):
            # Most of what matters stands in the first bytes.
            at = dice.randrange(min(len(changed), dice.choice((40, 200, len(changed)))))
            kind = dice.random()
            if kind < 0.6:
                changed[at] = dice.randrange(256)
            elif kind < 0.8:
                del changed[at : at + dice.randint(1, 20)]
            else:
                changed[at:at] = dice.randbytes(dice.randint(1, 12))
            changed = changed or bytearray(b"\0")
        result = bytes(changed)
        yield f"mutant {number} of {name}", repaired(result) if number % 2 else result


def odd_images() -> dict[str, bytes]:
    """All of them, by name."""
    found = {f"rare: {name}": data for name, data in rare().items()}
    found |= {f"broken: {name}": data for name, data in broken().items()}
    return found | dict(mutants(250))
