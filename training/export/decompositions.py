"""How the backward pass's operators are written, so that it exports, and runs where ONNX Runtime is fast.

Each function here has the signature of the ATen operator that it replaces in a traced graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._decomp import core_aten_decompositions
from torch._decomp.decompositions import native_batch_norm_backward

from training.errors import ExportError
from training.export import operators as ops

aten = torch.ops.aten


def decomposition_table() -> dict[Any, Callable[..., Any]]:
    """The core ATen decompositions, with ours for the backward pass of what networks are made of."""
    table: dict[Any, Callable[..., Any]] = dict(core_aten_decompositions())
    table[aten.convolution_backward.default] = convolution_backward
    table[aten.native_batch_norm_backward.default] = batch_norm_backward
    table[aten.threshold_backward.default] = threshold_backward
    table[aten.empty_permuted.default] = empty_permuted
    table[aten.max_pool2d_with_indices_backward.default] = max_pool_backward
    table[aten.avg_pool2d_backward.default] = average_pool_backward
    table[aten._adaptive_avg_pool2d_backward.default] = adaptive_average_pool_backward
    return table


def threshold_backward(grad: Tensor, x: Tensor, threshold: float) -> Tensor:
    """ReLU's: the gradient where x is above the threshold, else 0."""
    passes: Tensor = ops.above(x if threshold == 0 else x - threshold)
    return grad * passes


def empty_permuted(size: Sequence[int], physical_layout: Sequence[int], **options: Any) -> Tensor:
    """Zeros in place of nothing in particular: ONNX has no tensor without values."""
    del physical_layout
    zeros: Tensor = aten.full(size, 0.0, **options)
    return zeros


def batch_norm_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    save_mean: Tensor | None,
    save_invstd: Tensor | None,
    train: bool,
    eps: float,
    output_mask: Sequence[bool],
) -> tuple[Tensor, None, None]:
    """Batch norm's in eval mode: a factor per channel, which :mod:`training.export.kernels` folds away.

    Instance norm comes as the batch norm of one image that has all images' channels.
    """
    if running_var is None and isinstance(x.shape[0], int) and x.shape[0] == 1:
        found: Tensor = native_batch_norm_backward(
            grad, x, weight, None, None, save_mean, save_invstd, True, eps, [True, False, False]
        )[0]
        return found, None, None
    del running_mean, save_mean, save_invstd, output_mask
    if train or running_var is None:
        raise ExportError(
            "A batch norm without running statistics cannot be exported: it mixes the images of a batch."
        )
    scale = torch.rsqrt(running_var + eps)
    if weight is not None:
        scale = scale * weight
    return grad * scale.view(-1, *[1] * (x.dim() - 2)), None, None


def convolution_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    bias_sizes: Sequence[int] | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
    output_mask: Sequence[bool],
) -> tuple[Tensor, None, None]:
    """The input's gradient only; nobody asks for the parameters'.

    Stride 1: a convolution with the flipped kernel. Strides of 2 and more: one convolution for each phase of
    the input, woven together, which does the arithmetic of the forward pass and no more. Where that does not
    apply (dilation, padding beyond the kernel, a kernel smaller than its stride): a transposed convolution.
    """
    del bias_sizes, output_padding, output_mask
    if transposed:
        return (
            aten.convolution(grad, weight, None, stride, padding, dilation, False, [0] * len(stride), groups),
            None,
            None,
        )
    kernel = list(weight.shape[2:])
    borders = [d * (k - 1) - p for d, k, p in zip(dilation, kernel, padding, strict=True)]
    nothing = [0] * len(kernel)
    if all(s == 1 for s in stride) and min(borders) >= 0:
        flipped = _flipped(weight, groups)
        return (
            aten.convolution(grad, flipped, None, stride, borders, dilation, False, nothing, groups),
            None,
            None,
        )
    if len(kernel) == 2 and groups == 1 and set(dilation) == {1}:
        woven = _by_phases(grad, list(x.shape[2:]), weight, stride, padding)
        if woven is not None:
            return woven, None, None
    missing = [
        size - ((out - 1) * s - 2 * p + d * (k - 1) + 1)
        for size, out, s, p, d, k in zip(
            x.shape[2:], grad.shape[2:], stride, padding, dilation, kernel, strict=True
        )
    ]
    return aten.convolution(grad, weight, None, stride, padding, dilation, True, missing, groups), None, None


def _flipped(weight: Tensor, groups: int) -> Tensor:
    """The kernel turned by half a turn, its input and output channels swapped within each group."""
    spatial = list(range(2, weight.dim()))
    if groups == 1:
        return weight.transpose(0, 1).flip(spatial)
    outputs, inputs = weight.shape[0] // groups, weight.shape[1]
    grouped = weight.reshape(groups, outputs, inputs, *weight.shape[2:]).transpose(1, 2)
    return grouped.reshape(groups * inputs, outputs, *weight.shape[2:]).flip(spatial)


def _by_phases(
    grad: Tensor, size: list[int], weight: Tensor, stride: Sequence[int], padding: Sequence[int]
) -> Tensor | None:
    """The gradient of a strided convolution, phase by phase; None where the padding does not allow it.

    The input's pixel i = s·t + r meets the kernel's tap a in the output's pixel (i + p − a) / s, so the taps
    a ≡ r + p (mod s) and no others. Over t, that is a convolution of stride 1 with those taps, flipped.
    """
    axes = [
        [
            _phase(r, size[axis], int(grad.shape[2 + axis]), int(weight.shape[2 + axis]), s, padding[axis])
            for r in range(s)
        ]
        for axis, s in enumerate(stride)
    ]
    flipped = _flipped(weight, 1)
    parts = []
    for rows, columns in product(*axes):
        if rows is None or columns is None:
            return None
        kernel = flipped[:, :, rows.first :: stride[0], columns.first :: stride[1]]
        borders = [rows.before, columns.before, rows.after, columns.after]
        parts.append(ops.convolve(grad, kernel, borders))
    woven: Tensor = ops.interleave(parts, list(stride), size)
    return woven


class _Phase(NamedTuple):
    """Along one axis: the flipped kernel's first tap, and zeros before and after the output's gradient."""

    first: int
    before: int
    after: int


def _phase(r: int, size: int, out: int, kernel: int, stride: int, padding: int) -> _Phase | None:
    tap = (r + padding) % stride
    taps = -(-(kernel - tap) // stride)
    before = taps - 1 - (r + padding) // stride
    after = -(-size // stride) + taps - 1 - before - out
    if taps < 1 or before < 0 or after < 0:
        return None
    return _Phase(kernel - 1 - tap - stride * (taps - 1), before, after)


def max_pool_backward(
    grad: Tensor,
    x: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
    indices: Tensor,
) -> Tensor:
    """The gradient goes to the first largest pixel of each window, as in torch.

    Windows that tile the image: each of a window's pixels is compared with its maximum, all in operators that
    stay in the blocked layout. Any others: the gradients are added up at the maxima's indices.
    """
    kernel, steps = _pair(kernel_size), _pair(stride or kernel_size)
    tiled = kernel == steps and _pair(padding) == [0, 0] and _pair(dilation) == [1, 1] and not ceil_mode
    if not tiled:
        flat = grad.new_zeros(x.shape[0], x.shape[1], x.shape[2] * x.shape[3])
        return flat.scatter_add(2, indices.flatten(2), grad.flatten(2)).view(x.shape)
    highest = aten.max_pool2d_with_indices(x, kernel, steps)[0]
    pixels = kernel[0] * kernel[1]
    parts: list[Tensor] = []
    left = grad  # what no earlier pixel of the window has claimed
    for pixel in range(pixels - 1):
        # How far the pixel is below its window's maximum: picked out by a kernel of one −1 in each channel.
        pick = -(torch.arange(pixels, device=x.device) == pixel).to(x.dtype).view(1, 1, *kernel)
        pick = pick.expand(x.shape[1], 1, *kernel)
        nothing = [0, 0]
        picked = aten.convolution(x, pick, None, steps, nothing, [1, 1], False, nothing, x.shape[1])
        below = highest + picked
        parts.append(left * ops.not_above(below))
        left = left * ops.above(below)
    woven: Tensor = ops.interleave([*parts, left], steps, list(x.shape[2:]))
    return woven


def average_pool_backward(
    grad: Tensor,
    x: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Tensor:
    """Each window's gradient, shared out among its pixels."""
    kernel, steps, border = _pair(kernel_size), _pair(stride or kernel_size), _pair(padding)
    if ceil_mode or (border != [0, 0] and not count_include_pad):
        raise ExportError(
            "Average pooling with ceil_mode, or with padding that it does not count, cannot be exported."
        )
    share = grad / (divisor_override or kernel[0] * kernel[1])
    if kernel == steps and border == [0, 0]:
        return _grown(ops.spread(share, steps), list(x.shape[2:]))
    ones = torch.ones(x.shape[1], 1, *kernel, dtype=x.dtype, device=x.device)
    return convolution_backward(
        share, x, ones, None, steps, border, [1, 1], False, [0, 0], x.shape[1], [True, False, False]
    )[0]


def adaptive_average_pool_backward(grad: Tensor, x: Tensor) -> Tensor:
    """As average pooling, where the output's size divides the input's."""
    factors = [length // out for length, out in zip(x.shape[2:], grad.shape[2:], strict=True)]
    if any(length % out for length, out in zip(x.shape[2:], grad.shape[2:], strict=True)):
        raise ExportError(
            "Adaptive average pooling is exported only where its output's size divides its input's."
        )
    spread: Tensor = ops.spread(grad / (factors[0] * factors[1]), factors)
    return spread


def _pair(value: Sequence[int]) -> list[int]:
    return [int(value[0]), int(value[-1])] if value else [1, 1]


def _grown(x: Tensor, size: list[int]) -> Tensor:
    """With zeros below and to the right, up to ``size``: the pixels that no window reached."""
    missing = [want - have for want, have in zip(size, x.shape[2:], strict=True)]
    grown: Tensor = ops.grow(x, missing) if any(missing) else x
    return grown
