"""PNG files of arrays, in a few lines, so that nobody needs an imaging library to send one."""

from __future__ import annotations

import struct
import zlib

_SIGNATURE = b"\x89PNG\r\n\x1a\n"

#: PNG's colour type by the number of channels: grey, RGB, RGBA.
_COLOUR_TYPES = {1: 0, 3: 2, 4: 6}


def encode_png(pixels: bytes, *, width: int, height: int, channels: int) -> bytes:
    """A PNG file, 8 bits a channel.

    Args:
        pixels: ``height * width * channels`` bytes, row by row, the channels of a pixel together.
        width: In pixels.
        height: In pixels.
        channels: 1 (grey), 3 (RGB) or 4 (RGBA).
    """
    stride = width * channels
    # Each row begins with the filter that was applied to it: 0, none.
    rows = b"".join(b"\0" + pixels[start : start + stride] for start in range(0, len(pixels), stride))
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows, 6)), (b"IEND", b"")]
    return _SIGNATURE + b"".join(_chunk(name, content) for name, content in chunks)


def _chunk(name: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)
