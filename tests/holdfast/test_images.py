"""Images from outside: what is decoded, how, and what is refused."""

from __future__ import annotations

import struct
import warnings
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile
from support.odd_images import NOISE, bombs, broken, encoded, png, rare, repaired

from holdfast.errors import UsageError
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
from holdfast.images import ImageLimits, decode, encode_png
from holdfast.manifest import InputSpec

COLOUR = InputSpec(channels=3, height=6, width=8)
GREY = InputSpec(channels=1, height=6, width=8)


def as_array(pixels: np.ndarray) -> np.ndarray:
    """uint8 (h, w, c) as decode returns it."""
    return pixels.transpose(2, 0, 1).astype(np.float32) / np.float32(255)


# Exactness


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_image_of_the_models_size_passes_bit_exactly(form: str) -> None:
    image = decode(encoded(NOISE[..., :3], form, lossless=True), COLOUR)
    assert image.dtype == np.float32
    assert image.flags.c_contiguous
    np.testing.assert_array_equal(image, as_array(NOISE[..., :3]))


def test_jpeg_is_what_pillow_decodes() -> None:
    data = encoded(NOISE[..., :3], "JPEG", quality=95)
    np.testing.assert_array_equal(decode(data, COLOUR), as_array(np.asarray(Image.open(BytesIO(data)))))


def test_greyscale_passes_bit_exactly_to_one_channel_and_to_three() -> None:
    data = encoded(NOISE[..., 0])
    expected = as_array(NOISE[..., :1])
    np.testing.assert_array_equal(decode(data, GREY), expected)
    np.testing.assert_array_equal(decode(data, COLOUR), np.repeat(expected, 3, axis=0))


def test_colour_becomes_luma_of_bt_601_for_one_channel() -> None:
    luma = NOISE[..., :3].astype(np.float64) @ [0.299, 0.587, 0.114] / 255
    np.testing.assert_allclose(decode(encoded(NOISE[..., :3]), GREY)[0], luma, atol=0.6 / 255)


def test_one_bit_image_is_black_and_white() -> None:
    bits = NOISE[..., 0] > 127
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(bits)), GREY)[0], bits.astype(np.float32))


def test_sixteen_bit_greyscale_is_scaled_from_65535_and_keeps_its_precision() -> None:
    values = np.random.default_rng(1).integers(0, 65536, (6, 8), dtype=np.uint16)
    image = decode(encoded(values), COLOUR)
    expected = values.astype(np.float32) / np.float32(65535)
    np.testing.assert_array_equal(image, np.stack([expected] * 3))
    assert image.max() > 0.5  # clipped at 8 bits, everything would be 1 or nearly


def test_sixteen_bit_greyscale_is_scaled_to_size_and_stays_in_range() -> None:
    values = np.where(np.arange(64 * 48).reshape(48, 64) // 7 % 2, 65535, 0).astype(np.uint16)
    image = decode(encoded(values), GREY)
    assert image.shape == (1, 6, 8)
    assert 0 <= image.min() < image.max() <= 1
    assert abs(image.mean() - values.mean() / 65535) < 0.02


def test_sixteen_bit_colour_is_read_at_eight_bits() -> None:
    values = np.random.default_rng(2).integers(0, 65536, (6, 8, 3))
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    image = decode(png(8, 6, 16, 2, rows), COLOUR)
    np.testing.assert_allclose(image, values.transpose(2, 0, 1).astype(float) / 65535, atol=1 / 255)


# Palettes and transparency


def test_palette_image_has_its_palettes_colours() -> None:
    image = Image.fromarray(NOISE[..., :3]).quantize(7)
    np.testing.assert_array_equal(decode(encoded(image), COLOUR), as_array(np.asarray(image.convert("RGB"))))


@pytest.mark.parametrize("transparency", [1, bytes([255, 0, 128])], ids=["one colour", "alpha per colour"])
def test_transparent_palette_colours_are_composited_on_white(transparency: int | bytes) -> None:
    image = Image.new("P", (8, 6))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.putdata([0, 1, 2, 0, 1, 2, 0, 1] * 6)
    decoded = decode(encoded(image, transparency=transparency), COLOUR)
    assert decoded[:, 0, 0].tolist() == [1, 0, 0]
    assert decoded[:, 0, 1].tolist() == [1, 1, 1]
    blue = [0, 0, 1] if transparency == 1 else [127 / 255, 127 / 255, 1]
    np.testing.assert_allclose(decoded[:, 0, 2], blue, atol=1e-6)


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_alpha_is_composited_on_white(form: str) -> None:
    alpha = NOISE[..., 3:].astype(float) / 255
    on_white = NOISE[..., :3] * alpha + 255 * (1 - alpha)
    image = decode(encoded(NOISE, form, lossless=True, exact=True), COLOUR)
    np.testing.assert_allclose(image, on_white.transpose(2, 0, 1) / 255, atol=1.01 / 255)


def test_grey_with_alpha_is_composited_on_white() -> None:
    la = Image.merge("LA", [Image.fromarray(NOISE[..., 0]), Image.fromarray(NOISE[..., 3])])
    alpha = NOISE[..., 3].astype(float) / 255
    on_white = NOISE[..., 0] * alpha + 255 * (1 - alpha)
    np.testing.assert_allclose(decode(encoded(la), GREY)[0], on_white / 255, atol=1.01 / 255)


def test_opaque_alpha_channel_changes_nothing() -> None:
    opaque = NOISE.copy()
    opaque[..., 3] = 255
    np.testing.assert_array_equal(decode(encoded(opaque), COLOUR), as_array(NOISE[..., :3]))


@pytest.mark.parametrize(
    ("depth", "row", "key", "kept"),
    [
        (1, b"\x55", 0, 1.0),  # 0 1 0 1 0 1 0 1
        (2, b"\x1b\x1b", 0, 1 / 3),  # 0 1 2 3 0 1 2 3
        (4, b"\x12\x34\x56\x78", 1, 2 / 15),  # 1 2 3 4 5 6 7 8
        (8, bytes([9, 70, 1, 2, 3, 4, 5, 6]), 9, 70 / 255),
        (16, struct.pack(">8H", 300, 301, 2, 3, 4, 5, 6, 7), 300, 301 / 65535),
    ],
)
def test_transparent_grey_becomes_white_at_every_depth(depth: int, row: bytes, key: int, kept: float) -> None:
    image = decode(png(8, 6, depth, 0, (b"\0" + row) * 6, tRNS=struct.pack(">H", key)), GREY)
    assert image[0, 0, 0] == 1
    assert image[0, 0, 1] == pytest.approx(kept, abs=1e-6)


@pytest.mark.parametrize("depth", [8, 16])
def test_transparent_colour_becomes_white(depth: int) -> None:
    red, green = (200, 10, 20), (10, 200, 20)
    scale = 1 if depth == 8 else 257
    code = ">24B" if depth == 8 else ">24H"
    row = b"\0" + struct.pack(code, *[value * scale for value in (red + green) * 4])
    key = struct.pack(">3H", *[value * scale for value in red])
    image = decode(png(8, 6, depth, 2, row * 6, tRNS=key), COLOUR)
    assert image[:, 0, 0].tolist() == [1, 1, 1]
    np.testing.assert_allclose(image[:, 0, 1], np.array(green) / 255, atol=1e-6)


# JPEG's own ways


@pytest.mark.parametrize("colour", [(220, 30, 40), (20, 200, 60), (0, 0, 0), (255, 255, 255)])
def test_cmyk_jpeg_has_the_colours_that_people_see(colour: tuple[int, int, int]) -> None:
    # Pillow writes CMYK as Adobe does: inverted, with an Adobe marker.
    data = encoded(Image.new("RGB", (8, 6), colour).convert("CMYK"), "JPEG", quality=100)
    assert b"Adobe" in data
    image = decode(data, COLOUR)
    np.testing.assert_allclose(image.mean((1, 2)), np.array(colour) / 255, atol=3 / 255)


def with_orientation(image: Image.Image, orientation: int, form: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(image, form, exif=exif, **({"quality": 100} if form == "JPEG" else {"lossless": True}))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(form: str, orientation: int) -> None:
    # The upright picture: its top half is white on the left and grey on the right, the bottom black.
    upright = np.zeros((16, 32, 3), dtype=np.uint8)
    upright[:8, :16], upright[:8, 16:] = 255, 128
    undo = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),  # to be turned clockwise
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }
    stored = Image.fromarray(np.ascontiguousarray(undo[orientation]))
    image = decode(with_orientation(stored, orientation, form), InputSpec(channels=3, height=16, width=32))
    np.testing.assert_allclose(image, as_array(upright), atol=4 / 255)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_senseless_orientation_is_passed_over(orientation: int) -> None:
    data = with_orientation(Image.fromarray(NOISE[..., :3]), orientation, "PNG")
    np.testing.assert_array_equal(decode(data, COLOUR), as_array(NOISE[..., :3]))


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_first_frame_of_an_animation_counts(form: str) -> None:
    red, blue = Image.new("RGB", (8, 6), "red"), Image.new("RGB", (8, 6), "blue")
    data = encoded(red, form, save_all=True, append_images=[blue], duration=100)
    assert decode(data, COLOUR).mean((1, 2)).tolist() == pytest.approx([1, 0, 0], abs=0.02)


def test_colour_profiles_and_comments_do_not_matter() -> None:
    plain = encoded(NOISE[..., :3], "JPEG")
    laden = encoded(NOISE[..., :3], "JPEG", comment=b"c" * 1000, icc_profile=b"p" * 70_000)
    np.testing.assert_array_equal(decode(plain, COLOUR), decode(laden, COLOUR))


# Size


def test_other_sizes_are_scaled_to_cover_and_cut_at_the_centre() -> None:
    # A wide image of three squares, 12 pixels each: only the middle one is left of it.
    wide = np.zeros((12, 36, 3), dtype=np.uint8)
    wide[:, :12, 0] = wide[:, 12:24, 1] = wide[:, 24:, 2] = 255
    square = InputSpec(channels=3, height=4, width=4)
    for pixels in (wide, wide.transpose(1, 0, 2)):
        image = decode(encoded(np.ascontiguousarray(pixels)), square)
        np.testing.assert_allclose(image[1, 1:3, 1:3], 1.0, atol=0.02)
        assert image[1].mean() > 0.95
        assert max(image[0].mean(), image[2].mean()) < 0.05


def test_scaling_is_antialiased() -> None:
    stripes = np.zeros((60, 80), dtype=np.uint8)
    stripes[:, ::2] = 255
    image = decode(encoded(stripes), GREY)
    np.testing.assert_allclose(image, 0.5, atol=0.05)  # picking pixels would give 0 or 1


def test_aspect_is_kept() -> None:
    # A circle stays as high as it is wide.
    y, x = np.mgrid[:200, :400]
    circle = np.where((x - 200) ** 2 + (y - 100) ** 2 < 80**2, 255, 0).astype(np.uint8)
    image = decode(encoded(circle), InputSpec(channels=1, height=32, width=32))[0]
    assert image[16].sum() == pytest.approx(image[:, 16].sum(), abs=0.2)
    assert image[16].sum() == pytest.approx(32 * 160 / 200, abs=0.5)


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (7, 5), (9, 7), (65_535, 1)])
def test_every_size_is_brought_to_the_models(size: tuple[int, int]) -> None:
    image = decode(encoded(Image.new("RGB", size, (10, 100, 200))), COLOUR)
    assert image.shape == COLOUR.shape
    np.testing.assert_allclose(image.mean((1, 2)), np.array([10, 100, 200]) / 255, atol=1 / 255)


# What is refused


def test_empty_image_is_refused() -> None:
    with pytest.raises(EmptyImageError, match="0 bytes"):
        decode(b"", COLOUR)


@pytest.mark.parametrize("data", [b"hello, world", b"\0" * 100, b"BM not a bitmap", b"{}", b"P"])
def test_bytes_that_are_no_image_are_refused(data: bytes) -> None:
    with pytest.raises(NotAnImageError) as caught:
        decode(data, COLOUR)
    assert "PNG, JPEG or WebP" in caught.value.hint


@pytest.mark.parametrize("form", ["GIF", "BMP", "TIFF", "ICO", "JPEG2000", "AVIF", "PPM"])
def test_other_formats_are_named(form: str) -> None:
    data = encoded(Image.new("RGB", (16, 16), "red"), form)
    name = {"JPEG2000": "JPEG 2000", "PPM": "Netpbm"}.get(form, form)
    with pytest.raises(UnsupportedFormatError, match=f"^{name} images"):
        decode(data, COLOUR)


def test_svg_and_heif_are_named() -> None:
    with pytest.raises(UnsupportedFormatError, match="SVG images"):
        decode(b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', COLOUR)
    with pytest.raises(UnsupportedFormatError, match="HEIF images"):
        decode(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", COLOUR)


def test_twelve_bit_jpeg_is_named() -> None:
    data = bytearray(encoded(NOISE[..., :3], "JPEG"))
    data[data.index(b"\xff\xc0") + 4] = 12
    with pytest.raises(UnsupportedFormatError, match="12 bits"):
        decode(bytes(data), COLOUR)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_truncated_image_is_refused_as_such(form: str, share: float) -> None:
    data = encoded(np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8), form)
    with pytest.raises(TruncatedImageError, match="truncated"):
        decode(data[: int(len(data) * share)], COLOUR)


def test_damaged_image_is_refused_as_such() -> None:
    data = bytearray(encoded(NOISE[..., :3]))
    data[data.index(b"IDAT") + 8] ^= 0xFF
    with pytest.raises(DamagedImageError, match="PNG image is damaged") as caught:
        decode(bytes(data), COLOUR)
    assert not isinstance(caught.value, TruncatedImageError)


def test_too_many_bytes_are_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(NOISE)
    forbid_pillow(monkeypatch)
    with pytest.raises(TooManyBytesError, match=f"{len(data)} bytes"):
        decode(data, COLOUR, ImageLimits(max_bytes=len(data) - 1))


def test_limits_are_inclusive() -> None:
    data = encoded(NOISE)
    decode(data, COLOUR, ImageLimits(max_bytes=len(data), max_pixels=48))


def forbid_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("Pillow was asked")

    monkeypatch.setattr(Image, "open", fail)


@pytest.mark.parametrize("data", bombs().values(), ids=bombs())
def test_too_many_pixels_are_refused_before_decoding(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_pillow(monkeypatch)
    with pytest.raises(TooManyPixelsError, match="pixels"):
        decode(data, COLOUR)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_pixel_limit_is_exact(form: str) -> None:
    data = encoded(NOISE[..., :3], form)
    decode(data, COLOUR, ImageLimits(max_pixels=48))
    with pytest.raises(TooManyPixelsError, match="8x6"):
        decode(data, COLOUR, ImageLimits(max_pixels=47))


def test_limits_that_pillow_would_not_keep_are_refused() -> None:
    with pytest.raises(UsageError, match="max_pixels"):
        ImageLimits(max_pixels=90_000_000)
    with pytest.raises(UsageError, match="max_bytes"):
        ImageLimits(max_bytes=0)


def test_jpeg_with_endless_scans_is_refused_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(NOISE[..., :3], "JPEG", progressive=True)
    scan = data.index(b"\xff\xda")
    forbid_pillow(monkeypatch)
    with pytest.raises(DamagedImageError, match="scans"):
        decode(data[:-2] + data[scan:-2] * 100 + data[-2:], COLOUR)


def test_progressive_jpeg_is_accepted() -> None:
    data = encoded(NOISE[..., :3], "JPEG", progressive=True)
    np.testing.assert_array_equal(decode(data, COLOUR), as_array(np.asarray(Image.open(BytesIO(data)))))


@pytest.mark.parametrize(
    "data", [b"\x89PNG\r\n\x1a\n" + b"\0\0\0\0abcd\0\0\0\0" * 70_000, b"\xff\xd8" + b"\xff\xfe\0\2" * 70_000]
)
def test_headers_of_endless_parts_are_refused(data: bytes) -> None:
    with pytest.raises(DamagedImageError):
        decode(data, COLOUR)


def test_no_zero_size_passes() -> None:
    with pytest.raises(DamagedImageError, match="0x6"):
        decode(png(0, 6, 8, 2, b"\0"), COLOUR)


# Whatever the bytes


CORPUS = list(rare().values())[:16]
CUT = st.tuples(st.just("cut"), st.floats(0, 1), st.integers(1, 40))
SET = st.tuples(st.just("set"), st.floats(0, 1), st.integers(0, 255))
ADD = st.tuples(st.just("add"), st.floats(0, 1), st.binary(min_size=1, max_size=12))
END = st.tuples(st.just("end"), st.floats(0, 1), st.none())


def mutated(data: bytes, changes: list[tuple[str, float, Any]]) -> bytes:
    for kind, where, what in changes:
        at = int(where * (len(data) - 1)) if data else 0
        if kind == "cut":
            data = data[:at] + data[at + what :]
        elif kind == "set":
            data = data[:at] + bytes([what]) + data[at + 1 :]
        elif kind == "add":
            data = data[:at] + what + data[at:]
        else:
            data = data[:at]
    return data


def check_total(data: bytes, spec: InputSpec) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            image = decode(data, spec, ImageLimits(max_pixels=1_000_000))
        except ImageError:
            return
    assert image.shape == spec.shape
    assert image.dtype == np.float32
    assert image.min() >= 0
    assert image.max() <= 1


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    base=st.sampled_from(CORPUS),
    changes=st.lists(st.one_of(CUT, SET, SET, SET, ADD, END), min_size=1, max_size=6),
    repair=st.booleans(),
    channels=st.sampled_from([1, 3]),
)
def test_damaged_images_end_in_an_image_or_an_image_error(
    base: bytes, changes: list[tuple[str, float, Any]], repair: bool, channels: Any
) -> None:
    data = mutated(base, changes)
    check_total(repaired(data) if repair else data, InputSpec(channels=channels, height=6, width=8))


@settings(max_examples=200, deadline=None)
@given(
    magic=st.sampled_from(
        [
            b"",
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
            b"\xff\xd8\xff",
            b"RIFF\x20\0\0\0WEBPVP8X",
            b"RIFF\x20\0\0\0WEBPVP8L",
            b"RIFF\x20\0\0\0WEBPVP8 ",
            b"\0\0\0\x18ftyp",
            b"P",
            b"BM",
        ]
    ),
    rest=st.binary(max_size=200),
)
def test_random_bytes_end_in_an_image_or_an_image_error(magic: bytes, rest: bytes) -> None:
    check_total(magic + rest, COLOUR)


def test_every_cut_of_every_image_ends_in_an_image_or_an_image_error() -> None:
    for data in CORPUS:
        for end in range(0, len(data), 3):
            check_total(data[:end], COLOUR)


@pytest.mark.parametrize("data", rare().values(), ids=rare())
def test_rare_images_are_read(data: bytes) -> None:
    assert decode(data, COLOUR).shape == COLOUR.shape


@pytest.mark.parametrize("data", broken().values(), ids=broken())
def test_broken_images_are_refused_in_words(data: bytes) -> None:
    with pytest.raises(ImageError) as caught:
        decode(data, COLOUR)
    assert len(caught.value.message) > 20


def test_pillows_warnings_do_not_leak() -> None:
    animation = repaired(CORPUS[6].replace(b"acTL\0\0\0\2", b"acTL\0\0\0\0"))
    start = CORPUS[11].index(b"MPF\0") + 4
    several = CORPUS[11][:start] + b"XXXX" + CORPUS[11][start + 4 :]
    for data in (animation, several):
        with pytest.warns(UserWarning, match=r"Invalid APNG|malformed MPO"):
            Image.open(BytesIO(data))
        assert decode(data, COLOUR).shape == COLOUR.shape  # warnings are errors here


def test_decoding_leaves_pillows_settings_alone() -> None:
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, ImageFile.MAXBLOCK)
    for data in CORPUS:
        check_total(data, COLOUR)
    after = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, ImageFile.MAXBLOCK)
    assert after == before


def test_threads_decode_what_one_alone_decodes() -> None:
    alone = [decode(data, COLOUR) for data in CORPUS]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda data: decode(data, COLOUR), CORPUS * 20))
    for index, image in enumerate(together):
        np.testing.assert_array_equal(image, alone[index % len(CORPUS)])


# Encoding


@pytest.mark.parametrize("channels", [1, 3])
def test_encoded_images_come_back_rounded_to_eight_bits(channels: Any) -> None:
    image = np.random.default_rng(4).random((channels, 6, 8), dtype=np.float32)
    back = decode(encode_png(image), InputSpec(channels=channels, height=6, width=8))
    np.testing.assert_allclose(back, image, atol=0.5 / 255 + 1e-6)
    np.testing.assert_array_equal(back, np.rint(image * 255).astype(np.float32) / np.float32(255))


def test_encoding_cuts_what_is_out_of_range() -> None:
    image = np.array([[[-0.1, 1.1]]], dtype=np.float32)
    assert decode(encode_png(image), InputSpec(channels=1, height=1, width=2)).tolist() == [[[0, 1]]]


@pytest.mark.parametrize(
    "image", [np.zeros((2, 4, 4)), np.zeros((4, 4)), np.zeros((3, 0, 4)), np.full((1, 2, 2), np.nan)]
)
def test_encoding_refuses_what_is_no_image(image: np.ndarray) -> None:
    with pytest.raises(ValueError):
        encode_png(image)
