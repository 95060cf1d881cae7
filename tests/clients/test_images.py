"""What may be given as an image becomes the bytes of an image file, with no library needed for it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.tiny import solid_png

from holdfast.images import decode
from holdfast.manifest import InputSpec
from holdfast_client import ImageInputError, encode_image

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)

TRUNCATED = solid_png("red", (64, 64))[:-40]


def closed() -> io.BytesIO:
    file = io.BytesIO(TRUNCATED)
    file.close()
    return file


def read(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.mark.parametrize(
    ("shape", "mode"), [((5, 7), "L"), ((5, 7, 1), "L"), ((5, 7, 3), "RGB"), ((5, 7, 4), "RGBA")]
)
def test_array_comes_back_as_it_was(shape: tuple[int, ...], mode: str) -> None:
    array = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    picture = Image.open(io.BytesIO(encode_image(array)))
    assert picture.mode == mode
    assert np.array_equal(np.asarray(picture).reshape(shape), array)


def test_channels_may_be_first_or_last_and_a_batch_may_have_one_image() -> None:
    for array in (PIXELS, PIXELS.transpose(2, 0, 1), PIXELS[None], PIXELS.transpose(2, 0, 1)[None]):
        assert np.array_equal(read(encode_image(array)), PIXELS)
    assert np.array_equal(read(encode_image(PIXELS[::-1, ::2])), PIXELS[::-1, ::2])  # not contiguous


def test_layout_decides_where_the_shape_does_not() -> None:
    torch = pytest.importorskip("torch")
    cube = np.arange(3 * 3 * 3, dtype=np.uint8).reshape(3, 3, 3)
    assert np.array_equal(read(encode_image(cube)), cube)
    assert np.array_equal(read(encode_image(torch.from_numpy(cube))), cube.transpose(1, 2, 0))
    assert np.array_equal(read(encode_image(cube, layout="chw")), cube.transpose(1, 2, 0))
    assert np.array_equal(read(encode_image(torch.from_numpy(cube), layout="hwc")), cube)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_are_rounded_to_eight_bits(dtype: str) -> None:
    array = (PIXELS / 255).astype(dtype)
    assert np.array_equal(read(encode_image(array)), PIXELS)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "uint8"])
def test_tensors_are_taken_without_numpy(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.Tensor, "numpy", None)
    tensor = torch.zeros((3, 5, 7), dtype=getattr(torch, dtype))
    tensor[1] = 1 if dtype != "uint8" else 255
    if dtype != "uint8":
        tensor.requires_grad_(True)
    expected = np.zeros((5, 7, 3), np.uint8)
    expected[..., 1] = 255
    assert np.array_equal(read(encode_image(tensor)), expected)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV"])
def test_pil_images_of_every_mode_are_sent_as_png(mode: str) -> None:
    picture = Image.fromarray(PIXELS).convert(mode)
    sent = Image.open(io.BytesIO(encode_image(picture)))
    assert sent.format == "PNG"
    assert np.array_equal(np.asarray(sent.convert("RGB")), np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize("mode", ["I;16", "I;16L", "I;16B", "I;16N"])
def test_grey_of_sixteen_bits_is_to_the_server_what_its_file_is(mode: str) -> None:
    grey = np.random.default_rng(2).integers(0, 1 << 16, (5, 7), dtype=np.uint16)
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "PNG")
    picture = Image.open(file)
    assert picture.mode == "I;16"
    if mode != picture.mode:
        order = ">u2" if mode.endswith("B") else "<u2" if mode.endswith("L") else "=u2"
        picture = Image.frombytes(mode, (7, 5), grey.astype(order).tobytes())
    spec = InputSpec(channels=3, height=5, width=7)
    seen = decode(encode_image(picture), spec)
    assert np.array_equal(seen, decode(file.getvalue(), spec))
    assert np.array_equal(seen[0], grey.astype(np.float32) / 65535)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_are_sent_as_they_are(kind: Any) -> None:
    assert encode_image(kind(solid_png("red"))) == solid_png("red")


def test_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "red.png"
    path.write_bytes(solid_png("red"))
    with path.open("rb") as file:
        assert encode_image(path) == encode_image(str(path)) == encode_image(file) == solid_png("red")


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (b"", "empty"),
        ("nowhere.png", "nowhere.png cannot be read: No such file"),
        (io.StringIO("text"), "mode 'rb'"),
        (42, "A int is no image"),
        (np.zeros((5, 7, 2), np.uint8), r"shape \(5, 7, 2\)"),
        (np.zeros((2, 5, 7, 3), np.uint8), "classify_many"),
        (np.zeros((0, 7, 3), np.uint8), "no image"),
        (np.zeros((5, 7, 3), np.int64), "int64"),
        (np.full((5, 7), 2.0), "from 2 to 2"),
        (np.full((5, 7), np.nan), "nan"),
        (np.full((5, 7), -0.1, np.float32), "undo the normalisation"),
        (Image.new("F", (3, 3)), "mode F"),
        (Image.new("La", (3, 3)), "mode La cannot be read"),
        (Image.open(io.BytesIO(TRUNCATED)), "mode RGB cannot be read: .*truncated"),
        (closed(), "The file cannot be read: .*closed"),
    ],
)
def test_what_is_no_image_is_refused_with_what_to_do(image: Any, words: str) -> None:
    with pytest.raises(ImageInputError, match=words):
        encode_image(image)
