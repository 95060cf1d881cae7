"""Batches of images as .npy bytes."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import npy
from holdfast.manifest import InputSpec

SPEC = InputSpec(channels=3, height=4, width=5)
IMAGES = np.random.default_rng(0).random((2, 3, 4, 5), dtype=np.float32)


def saved(array: np.ndarray, version: tuple[int, int] | None = None) -> bytes:
    buffer = BytesIO()
    np.lib.format.write_array(buffer, array, version=version)
    return buffer.getvalue()


def headed(header: bytes, pixels: bytes = b"") -> bytes:
    return npy.MAGIC + b"\x01\x00" + len(header).to_bytes(2, "little") + header + pixels


def test_a_batch_survives_the_way_there_and_back() -> None:
    np.testing.assert_array_equal(npy.decode(npy.encode(IMAGES), SPEC, max_images=2), IMAGES)


def test_what_numpy_writes_is_read() -> None:
    for version in ((1, 0), (2, 0)):
        np.testing.assert_array_equal(npy.decode(saved(IMAGES, version), SPEC, max_images=2), IMAGES)


def test_encoding_takes_images_that_do_not_lie_in_order() -> None:
    turned = np.asfortranarray(IMAGES)
    np.testing.assert_array_equal(npy.decode(npy.encode(turned), SPEC, max_images=2), IMAGES)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "do not begin"),
        (npy.MAGIC, "do not begin"),
        (b"\x89PNG\r\n\x1a\n", "do not begin"),
        (npy.MAGIC + b"\x09\x00" + b"x" * 20, "unknown version"),
        (npy.MAGIC + b"\x01\x00\xff\xff" + b"(" * 65535, "unknown version or length"),
        (headed(b"(((((((((((("), "cannot be read"),
        (headed(b"{'descr': '<f4'}"), "cannot be read"),
        (headed(b"{'descr': '<f4', 'fortran_order': False, 'shape': (True, 3, 4, 5)}"), "cannot be read"),
        (headed(b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 3, 4, 5)}"), "cannot be read"),
        (saved(IMAGES.astype(np.float64)), "float32"),
        (saved(np.asfortranarray(IMAGES)), "C order"),
        (saved(IMAGES[0]), "shape"),
        (saved(IMAGES[:, :, :, :4]), "shape"),
        (saved(IMAGES[:0]), "0 images"),
        (saved(np.concatenate([IMAGES, IMAGES])), "4 images"),
        (npy.encode(IMAGES)[:-1], "promises 480 bytes"),
        (npy.encode(IMAGES) + b"x", "promises 480 bytes"),
        (npy.encode(IMAGES + 1), "in \\[0, 1\\]"),
        (npy.encode(IMAGES - 1), "in \\[0, 1\\]"),
        (npy.encode(np.full_like(IMAGES, np.nan)), "nan"),
        (npy.encode(np.full_like(IMAGES, np.inf)), "inf"),
    ],
)
def test_bytes_that_are_no_such_batch_are_refused_with_the_reason(data: bytes, complaint: str) -> None:
    with pytest.raises(npy.ArrayError, match=complaint):
        npy.decode(data, SPEC, max_images=2)


def test_a_pickle_is_refused_and_never_loaded(tmp_path) -> None:
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    buffer = BytesIO()
    np.save(buffer, np.array([Trap()], dtype=object), allow_pickle=True)
    with pytest.raises(npy.ArrayError):
        npy.decode(buffer.getvalue(), SPEC, max_images=2)
    assert not (tmp_path / "sprung").exists()


def test_a_header_that_promises_terabytes_costs_no_memory() -> None:
    shape = b"(1, 3, 4, 5)".replace(b"1,", b"1000000000000,")
    data = headed(b"{'descr': '<f4', 'fortran_order': False, 'shape': " + shape + b"}")
    with pytest.raises(npy.ArrayError, match="1000000000000 images"):
        npy.decode(data, SPEC, max_images=2)


@given(st.binary(max_size=200))
def test_no_bytes_whatsoever_raise_anything_else(data: bytes) -> None:
    for candidate in (data, npy.MAGIC + data, headed(data)):
        with pytest.raises(npy.ArrayError):
            npy.decode(candidate, SPEC, max_images=2)
