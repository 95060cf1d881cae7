"""Operators of ours that a traced gradient is written in: each says in one word what ONNX says in several.

ATen has no form of these that the ONNX exporter turns into operators which ONNX Runtime keeps in its blocked
(NCHWc) layout. As operators of their own they pass through ``torch.export`` whole, run in eager torch (so
that a traced graph can be checked before it is exported), and :func:`translations` writes them in ONNX.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

#: The largest float32: times any x > 0 it is at least 1 (denormal numbers below 3e-39 aside), times 0 0.
_STEEP = torch.finfo(torch.float32).max


@torch.library.custom_op("holdfast::above", mutates_args=())
def above(x: Tensor) -> Tensor:
    """1 where x > 0, else 0, in the type of x: the derivative of ReLU, at 0 the same 0 as torch's."""
    return (x > 0).to(x.dtype)


@torch.library.custom_op("holdfast::not_above", mutates_args=())
def not_above(x: Tensor) -> Tensor:
    """1 where x <= 0, else 0, in the type of x."""
    return (x <= 0).to(x.dtype)


@torch.library.custom_op("holdfast::convolve", mutates_args=())
def convolve(x: Tensor, weight: Tensor, borders: Sequence[int]) -> Tensor:
    """A convolution of stride 1 with a border of zeros of its own on each side.

    Args:
        x: (n, c, h, w).
        weight: (outputs, c, height, width).
        borders: Zeros above, left, below and right.
    """
    top, left, bottom, right = borders
    return torch.nn.functional.conv2d(torch.nn.functional.pad(x, (left, right, top, bottom)), weight)


@torch.library.custom_op("holdfast::spread", mutates_args=())
def spread(x: Tensor, factors: Sequence[int]) -> Tensor:
    """Repeat each pixel ``factors`` times along both spatial axes: (n, c, h, w) to (n, c, h·f₀, w·f₁)."""
    return x.repeat_interleave(factors[0], 2).repeat_interleave(factors[1], 3)


@torch.library.custom_op("holdfast::grow", mutates_args=())
def grow(x: Tensor, missing: Sequence[int]) -> Tensor:
    """Zeros below and to the right: ``missing`` rows and columns. ATen's own padding may fix the batch."""
    return torch.nn.functional.pad(x, (0, missing[1], 0, missing[0]))


@torch.library.custom_op("holdfast::interleave", mutates_args=())
def interleave(parts: Sequence[Tensor], strides: Sequence[int], size: Sequence[int]) -> Tensor:
    """Weave s₀·s₁ images into one: pixel (i, j) of the result is a pixel of part (i mod s₀)·s₁ + (j mod s₁).

    Args:
        parts: s₀·s₁ tensors (n, c, h, w).
        strides: (s₀, s₁).
        size: Height and width of the result: from h·s₀ and w·s₁ rows and columns are cut off at the end, or
            zeros are put there.
    """
    n, c, height, width = parts[0].shape
    woven = torch.stack(list(parts), 2).view(n, c, strides[0], strides[1], height, width)
    whole = woven.permute(0, 1, 4, 2, 5, 3).reshape(n, c, height * strides[0], width * strides[1])
    # A negative border cuts off.
    return torch.nn.functional.pad(whole, (0, size[1] - whole.shape[3], 0, size[0] - whole.shape[2]))


@above.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


@not_above.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


@convolve.register_fake
def _(x: Tensor, weight: Tensor, borders: Sequence[int]) -> Tensor:
    height = x.shape[2] + borders[0] + borders[2] - weight.shape[2] + 1
    width = x.shape[3] + borders[1] + borders[3] - weight.shape[3] + 1
    return x.new_empty(x.shape[0], weight.shape[0], height, width)


@spread.register_fake
def _(x: Tensor, factors: Sequence[int]) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[1], x.shape[2] * factors[0], x.shape[3] * factors[1])


@grow.register_fake
def _(x: Tensor, missing: Sequence[int]) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[1], x.shape[2] + missing[0], x.shape[3] + missing[1])


@interleave.register_fake
def _(parts: Sequence[Tensor], strides: Sequence[int], size: Sequence[int]) -> Tensor:
    del strides
    return parts[0].new_empty(parts[0].shape[0], parts[0].shape[1], *size)


ABOVE = torch.ops.holdfast.above.default
NOT_ABOVE = torch.ops.holdfast.not_above.default
CONVOLVE = torch.ops.holdfast.convolve.default
SPREAD = torch.ops.holdfast.spread.default
GROW = torch.ops.holdfast.grow.default
INTERLEAVE = torch.ops.holdfast.interleave.default


def translations(opset: Any) -> dict[Any, Callable[..., Any]]:
    """How the operators above, and two of ATen's, are written in ONNX.

    Args:
        opset: An opset of onnxscript, e.g. ``onnxscript.opset18``.

    Returns:
        The table that ``torch.onnx.export`` takes as ``custom_translation_table``.
    """

    def above_onnx(x: Any) -> Any:
        # HardSigmoid(x) = clip(alpha * x + beta, 0, 1) stays in the blocked layout; Where and Greater do not.
        return opset.HardSigmoid(x, alpha=_STEEP, beta=0.0)

    def not_above_onnx(x: Any) -> Any:
        return opset.HardSigmoid(x, alpha=-_STEEP, beta=1.0)

    def convolve_onnx(x: Any, weight: Any, borders: Sequence[int]) -> Any:
        return opset.Conv(x, weight, pads=list(borders))

    def spread_onnx(x: Any, factors: Sequence[int]) -> Any:
        scales = opset.Constant(value_floats=[1.0, 1.0, *map(float, factors)])
        return opset.Resize(
            x,
            None,
            scales,
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )

    def grow_onnx(x: Any, missing: Sequence[int]) -> Any:
        return opset.Pad(x, opset.Constant(value_ints=[0, 0, 0, 0, 0, 0, *missing]))

    def interleave_onnx(parts: Sequence[Any], strides: Sequence[int], size: Sequence[int]) -> Any:
        # Channels last, pixels that differ only in the column's phase lie woven already, and rows are woven
        # by copying whole rows: ONNX Runtime's DepthToSpace moves single numbers, five times slower.
        channels, height, width = parts[0].shape[1:]
        rows = []
        for i in range(strides[0]):
            row = list(parts[i * strides[1] : (i + 1) * strides[1]])
            joined = opset.Concat(*row, axis=1) if len(row) > 1 else row[0]
            last = opset.Transpose(joined, perm=[0, 2, 3, 1])
            shape = opset.Constant(value_ints=[0, height, 1, width * strides[1] * channels])
            rows.append(opset.Reshape(last, shape))
        joined = opset.Concat(*rows, axis=2) if len(rows) > 1 else rows[0]
        whole = (height * strides[0], width * strides[1])
        woven = opset.Reshape(joined, opset.Constant(value_ints=[0, *whole, channels]))
        if whole != tuple(size):
            borders = [0] * 5 + [want - have for want, have in zip(size, whole, strict=True)] + [0]
            woven = opset.Pad(woven, opset.Constant(value_ints=borders))
        first = opset.Transpose(woven, perm=[0, 3, 1, 2])
        # The mean of each single pixel changes nothing, and takes what follows back into the blocked layout.
        return opset.AveragePool(first, kernel_shape=[1, 1])

    def mean_onnx(x: Any, dim: Sequence[int], keepdim: bool = False, dtype: int = -1) -> Any:
        del dtype
        rank = len(x.shape)
        axes = sorted(axis % rank for axis in dim)
        if rank == 4 and axes == [2, 3]:
            pooled = opset.GlobalAveragePool(x)  # ReduceMean would leave the blocked layout
            return pooled if keepdim else opset.Flatten(pooled)
        return opset.ReduceMean(x, opset.Constant(value_ints=axes), keepdims=int(keepdim))

    return {
        ABOVE: above_onnx,
        NOT_ABOVE: not_above_onnx,
        CONVOLVE: convolve_onnx,
        SPREAD: spread_onnx,
        GROW: grow_onnx,
        INTERLEAVE: interleave_onnx,
        torch.ops.aten.mean.dim: mean_onnx,
    }
