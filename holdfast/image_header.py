"""What an image says about itself before it is decoded, and the limits it must keep to.

Only PNG, JPEG and WebP are read. Everything here looks at headers alone, in time that the limits bound:
an image that would be too large is refused before a pixel of it is decoded. What a decoder does not need
(text, colour profiles, thumbnails, further frames of an animated PNG) is not handed on to it: less that can
be attacked, and nothing that makes Pillow warn.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from holdfast.errors import UsageError
from holdfast.image_errors import (
    DamagedImageError,
    EmptyImageError,
    NotAnImageError,
    TooManyBytesError,
    TooManyPixelsError,
    TruncatedImageError,
    UnsupportedFormatError,
)

Format = Literal["PNG", "JPEG", "WEBP"]

#: Beyond this many pixels Pillow warns of a decompression bomb, so the limit cannot be set higher.
_MOST_PIXELS = 89_478_485

#: JPEG's own bound, kept for the other formats too: with a longer side no scale could be exact.
_MAX_SIDE = 65_535

#: A progressive JPEG has about ten scans. Each one makes the decoder pass over the whole image, however few
#: bytes it takes, so a small file with thousands of them would keep a core busy for hours.
_MAX_SCANS = 100

#: Chunks or segments; a large PNG with small chunks has a few thousand.
_MAX_PARTS = 65_536

_ACCEPTED = "Send a PNG, JPEG or WebP image."
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class ImageLimits:
    """What is accepted of an untrusted image; both limits are checked before decoding.

    Attributes:
        max_bytes: The file's size in bytes.
        max_pixels: Width times height, at most 89 million.
    """

    max_bytes: int = 10 * 1024 * 1024
    max_pixels: int = 16_000_000

    def __post_init__(self) -> None:
        """Refuse limits that could not be kept."""
        if self.max_bytes < 1:
            raise UsageError(f"max_bytes must be at least 1, not {self.max_bytes}.")
        if not 1 <= self.max_pixels <= _MOST_PIXELS:
            raise UsageError(f"max_pixels must be between 1 and {_MOST_PIXELS}, not {self.max_pixels}.")


@dataclass(frozen=True)
class ImageHeader:
    """An image's header, and the part of its bytes that decoding needs.

    Attributes:
        format: Its format, by Pillow's name.
        width: Columns as stored, before ``orientation`` is applied.
        height: Rows as stored.
        orientation: The EXIF orientation, 1 to 8; 1 where there is none.
        colour_key: For a PNG without palette, the one colour that is transparent, (grey,) or (r, g, b),
            in the file's own bit depth.
        bit_depth: Bits per channel as stored.
        payload: The same image without what decoding does not need.
    """

    format: Format
    width: int
    height: int
    orientation: int
    colour_key: tuple[int, ...] | None
    bit_depth: int
    payload: bytes


def read_header(data: bytes, limits: ImageLimits) -> ImageHeader:
    """Read the header of an image and hold it against the limits.

    Raises:
        ImageError: One of its subclasses, see holdfast.image_errors.
    """
    if not data:
        raise EmptyImageError("The image is empty: it has 0 bytes.", hint=_ACCEPTED)
    if len(data) > limits.max_bytes:
        raise TooManyBytesError(
            f"The image has {len(data):,} bytes; at most {limits.max_bytes:,} are accepted.",
            hint="Send a smaller image: it is scaled down to the model's input size anyway.",
        )
    try:
        header = _read(data)
    except (struct.error, IndexError):
        raise _truncated() from None
    _check_size(header, limits)
    return header


def _read(data: bytes) -> ImageHeader:
    if data.startswith(_PNG_MAGIC):
        return _read_png(data)
    if data.startswith(b"\xff\xd8\xff"):
        return _read_jpeg(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _read_webp(data)
    name = _other_format(data)
    if name is not None:
        raise UnsupportedFormatError(f"{name} images are not accepted.", hint=_ACCEPTED)
    raise NotAnImageError("The bytes are not an image.", hint=_ACCEPTED)


def _check_size(header: ImageHeader, limits: ImageLimits) -> None:
    width, height = header.width, header.height
    if width == 0 or height == 0:
        raise _damaged(f"its header says {width}x{height} pixels")
    if width * height > limits.max_pixels or max(width, height) > _MAX_SIDE:
        raise TooManyPixelsError(
            f"The image has {width}x{height} pixels; at most {limits.max_pixels:,} in all and {_MAX_SIDE:,} "
            "on a side are accepted.",
            hint="Send a smaller image: it is scaled down to the model's input size anyway.",
        )


# PNG: a signature and chunks of (length, type, data, checksum). https://www.w3.org/TR/png-3/


def _read_png(data: bytes) -> ImageHeader:
    kept = [_PNG_MAGIC]
    header: tuple[int, int, int, int] | None = None
    colour_key = None
    orientation = 1
    for kind, start, end in _png_chunks(data):
        body = data[start + 8 : end - 4]
        if kind == b"IHDR":
            if header is not None:
                raise _damaged("it has two headers")
            header = struct.unpack_from(">IIBB", body)
        elif header is None:
            raise _damaged("it does not begin with its header")
        elif kind == b"tRNS" and header[3] != _PNG_PALETTE:
            colour_key = _png_colour_key(body, header[3])
            continue
        elif kind == b"eXIf":
            orientation = _exif_orientation(body)
            continue
        elif kind not in (b"PLTE", b"tRNS", b"IDAT", b"IEND"):
            continue
        kept.append(data[start:end])
        if kind == b"IEND":
            break
    else:
        raise _truncated()
    if header is None:
        raise _damaged("it has no header")
    width, height, bit_depth, colour_type = header
    if colour_type == _PNG_PALETTE and not any(part[4:8] == b"PLTE" for part in kept):
        raise _damaged("it has no palette for its colours")
    return ImageHeader("PNG", width, height, orientation, colour_key, bit_depth, b"".join(kept))


_PNG_GREY, _PNG_RGB, _PNG_PALETTE = 0, 2, 3


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Type, start and end of each chunk that is whole."""
    position = len(_PNG_MAGIC)
    for _ in range(_MAX_PARTS):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            raise _truncated()
        yield kind, position, end
        position = end
    raise _damaged(f"it has more than {_MAX_PARTS:,} parts")


def _png_colour_key(body: bytes, colour_type: int) -> tuple[int, ...] | None:
    channels = {_PNG_GREY: 1, _PNG_RGB: 3}.get(colour_type)
    if channels is None or len(body) < 2 * channels:
        return None
    return struct.unpack_from(f">{channels}H", body)


# JPEG: segments that each begin with 0xFF and a marker, up to the first scan. ITU-T T.81, annex B


def _read_jpeg(data: bytes) -> ImageHeader:
    kept = [b"\xff\xd8"]
    frame: tuple[int, int, int] | None = None
    orientation = 1
    for marker, start, end in _jpeg_segments(data):
        if marker == 0xDA:
            kept.append(data[start:])
            break
        body = data[start + 4 : end]
        if marker in _JPEG_FRAMES:
            if frame is not None:
                raise _damaged("it has two headers")
            frame = struct.unpack_from(">BHH", body)
        elif marker == 0xE1 and body.startswith(b"Exif\0\0") and orientation == 1:
            orientation = _exif_orientation(body[6:])
        # JFIF (APP0) and Adobe (APP14) say how colours are stored; nothing else about the pixels is said
        # outside the tables.
        if marker in _JPEG_TABLES or marker in _JPEG_FRAMES or marker in (0xE0, 0xEE):
            kept.append(data[start:end])
    if frame is None:
        raise _damaged("it has no header")
    bit_depth, height, width = frame
    if bit_depth != 8:
        raise UnsupportedFormatError(
            f"JPEG images of {bit_depth} bits per channel are not accepted.",
            hint="Save it as an ordinary 8-bit JPEG, or as PNG.",
        )
    payload = b"".join(kept)
    # In compressed data 0xFF is followed by 0 or a restart marker only, so this counts scans, nothing else.
    scans = payload.count(b"\xff\xda")
    if scans > _MAX_SCANS:
        raise _damaged(f"it has {scans:,} scans, and at most {_MAX_SCANS} are accepted")
    return ImageHeader("JPEG", width, height, orientation, None, bit_depth, payload)


#: Start of frame: 0xC0 to 0xCF without the three that are tables.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
#: Huffman tables, arithmetic conditioning, quantisation tables, restart interval.
_JPEG_TABLES = frozenset({0xC4, 0xCC, 0xDB, 0xDD})
_JPEG_ALONE = frozenset({0x00, 0x01, *range(0xD0, 0xD9)})


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of each segment up to and with the first scan's header."""
    position = 2
    for _ in range(_MAX_PARTS):
        # Decoders pass over stray bytes before a marker, and a marker may be preceded by fill bytes.
        position = data.find(b"\xff", position)
        if position < 0:
            raise _truncated()
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        if marker in _JPEG_ALONE:
            position += 2
            continue
        if marker == 0xD9:
            raise _damaged("it ends before its first pixel")
        (length,) = struct.unpack_from(">H", data, position + 2)
        end = position + 2 + length
        if length < 2:
            raise _damaged("one of its segments has no length")
        if end > len(data):
            raise _truncated()
        yield marker, position, end
        if marker == 0xDA:
            return
        position = end
    raise _damaged(f"it has more than {_MAX_PARTS:,} parts")


# WebP: a RIFF file whose first chunk tells the size. https://developers.google.com/speed/webp/docs/riff_container


def _read_webp(data: bytes) -> ImageHeader:
    (riff_size,) = struct.unpack_from("<I", data, 4)
    if riff_size + 8 > len(data):
        raise _truncated()
    kind, body = data[12:16], 20
    orientation = 1
    if kind == b"VP8 ":
        start_code, width, height = struct.unpack_from("<3sHH", data, body + 3)
        if start_code != b"\x9d\x01\x2a":
            raise _damaged("its first frame does not begin as it should")
        width, height = width & 0x3FFF, height & 0x3FFF
    elif kind == b"VP8L":
        signature, bits = struct.unpack_from("<BI", data, body)
        if signature != 0x2F:
            raise _damaged("its first frame does not begin as it should")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8X":
        low, high = struct.unpack_from("<IH", data, body + 4)  # two numbers of 24 bits
        width, height = (low & 0xFFFFFF) + 1, (low >> 24 | high << 8) + 1
        orientation = _webp_orientation(data)
    else:
        raise _damaged("its first part is none that WebP knows")
    return ImageHeader("WEBP", width, height, orientation, None, 8, data)


def _webp_orientation(data: bytes) -> int:
    position = 12
    for _ in range(_MAX_PARTS):
        if position + 8 > len(data):
            return 1
        kind, size = struct.unpack_from("<4sI", data, position)
        if kind == b"EXIF":
            return _exif_orientation(data[position + 8 : position + 8 + size].removeprefix(b"Exif\0\0"))
        position += 8 + size + size % 2
    raise _damaged(f"it has more than {_MAX_PARTS:,} parts")


def _exif_orientation(tiff: bytes) -> int:
    """Tag 0x0112 of the first directory; 1, upright, where it is missing or makes no sense."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (position,) = struct.unpack_from(order + "I", tiff, 4)
        (entries,) = struct.unpack_from(order + "H", tiff, position)
        for entry in range(entries):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", tiff, position + 2 + 12 * entry)
            if tag == 0x0112:
                return value if kind == 3 and 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def _other_format(data: bytes) -> str | None:
    """The name of a format that is known and not accepted."""
    for magic, name in _OTHER_MAGIC.items():
        if data.startswith(magic):
            return name
    if data.startswith(b"BM") and data[6:10] == b"\0\0\0\0":
        return "BMP"
    if data[4:8] == b"ftyp":
        return "AVIF" if data[8:12] in (b"avif", b"avis") else "HEIF" if data[8:12] in _HEIF_BRANDS else None
    if data[:1] == b"P" and data[1:2] in b"1234567" and data[2:3].isspace():
        return "Netpbm"
    start = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith((b"<?xml", b"<svg", b"<!--", b"<!DOCTYPE svg")) and b"<svg" in start:
        return "SVG"
    return None


_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_OTHER_MAGIC = {
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\xff\x0a": "JPEG XL",
    b"8BPS": "Photoshop",
    b"\0\0\1\0": "ICO",
    b"%PDF": "PDF",
    b"qoif": "QOI",
    b"DDS ": "DDS",
    b"\x76\x2f\x31\x01": "OpenEXR",
    b"SIMPLE  =": "FITS",
}


def _truncated() -> TruncatedImageError:
    return TruncatedImageError(
        "The image is truncated: its end is missing.",
        hint="Send the whole file; an upload may have broken off.",
    )


def _damaged(why: str) -> DamagedImageError:
    return DamagedImageError(
        f"The image cannot be decoded: {why}.", hint="Open it in an image editor and save it again."
    )
