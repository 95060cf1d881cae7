"""PNG files of numpy arrays and torch tensors, with neither library."""

from __future__ import annotations

import sys
from typing import Any

from holdfast_client._errors import ImageInputError
from holdfast_client._png import encode_png

_CHANNELS = (1, 3, 4)


def is_array(value: Any) -> bool:
    """Whether it is a numpy array, a torch tensor, or looks like one."""
    return hasattr(value, "shape") and hasattr(value, "dtype") and hasattr(value, "ndim")


def png_of_array(array: Any, layout: str) -> bytes:
    """A PNG of an array or a tensor; see ``encode_image`` for which it may be.

    Raises:
        ImageInputError: It is no image.
    """
    is_tensor = hasattr(array, "detach") and hasattr(array, "data_ptr")
    if is_tensor:
        array = array.detach().cpu()
    shape = tuple(int(size) for size in array.shape)
    if len(shape) == 4 and shape[0] == 1:
        array, shape = array[0], shape[1:]
    channels_first = len(shape) == 3 and _channels_first(shape, layout, tensor=is_tensor)
    if channels_first:
        array = array.permute(1, 2, 0) if is_tensor else array.transpose(1, 2, 0)
        shape = (*shape[1:], shape[0])
    if len(shape) not in (2, 3) or 0 in shape or (len(shape) == 3 and shape[2] not in _CHANNELS):
        raise ImageInputError(
            f"An array of shape {tuple(array.shape)} is no image.",
            "An image is (H, W), (H, W, C) or (C, H, W) with 1, 3 or 4 channels; pass several one by one: "
            "client.classify_many(list(batch)).",
        )
    pixels = _tensor_bytes(array) if is_tensor else _array_bytes(array)
    channels = shape[2] if len(shape) == 3 else 1
    return encode_png(pixels, width=shape[1], height=shape[0], channels=channels)


def _channels_first(shape: tuple[int, ...], layout: str, *, tensor: bool) -> bool:
    if layout not in ("auto", "hwc", "chw"):
        raise ImageInputError(f"There is no layout '{layout}'.", "It is auto, hwc or chw.")
    if layout != "auto":
        return layout == "chw"
    first, last = shape[0] in _CHANNELS, shape[2] in _CHANNELS
    return tensor if first and last else first


def _array_bytes(array: Any) -> bytes:
    dtype = str(array.dtype)
    if dtype.startswith("float") or dtype == "bfloat16":
        _check_range(float(array.min()), float(array.max()))
        array = (array.astype("float64") * 255).round().astype("uint8")
    elif dtype != "uint8":
        raise _unsuitable(dtype)
    content: bytes = array.tobytes()
    return content


def _tensor_bytes(tensor: Any) -> bytes:
    dtype = str(tensor.dtype).removeprefix("torch.")
    if tensor.is_floating_point():
        _check_range(float(tensor.min()), float(tensor.max()))
        tensor = (tensor.double() * 255).round().to(sys.modules["torch"].uint8)
    elif dtype != "uint8":
        raise _unsuitable(dtype)
    import ctypes

    tensor = tensor.contiguous()
    return ctypes.string_at(tensor.data_ptr(), tensor.numel())  # .numpy() would need numpy


def _check_range(low: float, high: float) -> None:
    if not (low >= 0.0 and high <= 1.0):  # also where one of them is not a number
        raise ImageInputError(
            f"The array has values from {low:g} to {high:g}; floats are in [0, 1].",
            "Divide by 255, or undo the normalisation: it is the model's own first layer.",
        )


def _unsuitable(dtype: str) -> ImageInputError:
    return ImageInputError(f"An array of {dtype} is no image.", "Give uint8, or floats in [0, 1].")
