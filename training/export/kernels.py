"""Factors folded into kernels: a backward pass without the multiplications that batch norm leaves in it.

The derivative of a batch norm in eval mode multiplies each channel by a constant, and so does that of the
normalisation in front. Over all activations that costs as much as a ReLU does; multiplied into the kernel of
the convolution before it (or after it) it costs nothing. The kernels stay products of the network's own
weights in the graph: ONNX Runtime works them out once, when it loads the graph.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import GraphModule, Node

from training.export.nodes import Constants, arguments, shape
from training.export.operators import CONVOLVE, GROW, INTERLEAVE, SPREAD

aten = torch.ops.aten
_CONVOLUTION = aten.convolution.default
_DIVISIONS = (aten.div.Tensor, aten.div.Scalar)
_FACTORS = (aten.mul.Tensor, aten.mul.Scalar, *_DIVISIONS)


def fold_factors(traced: GraphModule) -> None:
    """Fold every constant factor per channel into a convolution's kernel, where there is one to take it.

    Args:
        traced: A graph of ATen operators with the shapes of its values, as ``make_fx`` leaves it; changed in
            place, to one that computes the same but for rounding.
    """
    folding = _Folding(Constants(traced.graph))
    for node in list(traced.graph.nodes):
        folding.fold(node)
    traced.graph.eliminate_dead_code()
    traced.recompile()


class _Folding:
    def __init__(self, constants: Constants) -> None:
        self._constants = constants

    def fold(self, node: Node) -> None:
        """Fold ``node`` away if it multiplies the channels of an image by constants."""
        if node in self._constants or node.target not in _FACTORS or len(shape(node)) != 4:
            return
        image, factor = arguments(node)
        divided = node.target in _DIVISIONS
        if image in self._constants and not divided:
            image, factor = factor, image
        if not self._is_image(image, node) or not self._is_per_channel(factor, node):
            return
        kernels = self._kernels_before(image) or self._kernels_after(node)
        if not kernels:
            return
        if isinstance(factor, Node):
            factor = self._constants.call(aten.view.default, factor, [-1])
            factor = self._constants.call(aten.reciprocal.default, factor) if divided else factor
        elif divided:
            factor = 1 / factor
        for convolution, axis in kernels:
            self._multiply(convolution, factor, axis)
        node.replace_all_uses_with(image)
        node.graph.erase_node(node)

    def _is_image(self, image: Any, node: Node) -> bool:
        return isinstance(image, Node) and image not in self._constants and shape(image) == shape(node)

    def _is_per_channel(self, factor: Any, node: Node) -> bool:
        if isinstance(factor, Node):
            lengths = shape(factor)
            return factor in self._constants and [1] * (4 - len(lengths)) + lengths == [
                1,
                shape(node)[1],
                1,
                1,
            ]
        return isinstance(factor, int | float)

    def _kernels_before(self, node: Node) -> list[tuple[Node, int]]:
        """The convolutions that make ``node``, if it grows in proportion to all of them.

        Returns:
            Each with its kernel's axis over the channels of ``node``; none if it is not so, or if anything
            else looks at what would be multiplied.
        """
        if len(node.users) != 1:
            return []
        if self._has_plain_kernel(node):
            return [(node, 1 if _is_transposed(node) else 0)]
        if node.target is aten.mul.Tensor:  # by a mask: either factor will do
            for part in arguments(node):
                if self._is_image(part, node) and (found := self._kernels_before(part)):
                    return found
            return []
        found = []
        for part in self._parts(node):
            kernels = self._kernels_before(part)
            if not kernels:
                return []
            found += kernels
        return found

    def _parts(self, node: Node) -> list[Node]:
        """The images of which ``node`` is the sum or the arrangement, channel by channel."""
        if node.target is aten.add.Tensor and not node.kwargs:
            parts = arguments(node)
            both = all(self._is_image(part, node) for part in parts) and parts[0] is not parts[1]
            return parts if both else []
        if node.target is INTERLEAVE:
            return list(arguments(node)[0])
        return arguments(node)[:1] if node.target in (SPREAD, GROW) else []

    def _kernels_after(self, node: Node) -> list[tuple[Node, int]]:
        """The convolutions of ``node`` and their kernels' axes over channels; none if others use it too."""
        users = list(node.users)
        if all(self._has_plain_kernel(user) and user.args[0] is node for user in users):
            return [(user, 0 if _is_transposed(user) else 1) for user in users]
        return []

    def _has_plain_kernel(self, node: Node) -> bool:
        """Whether ``node`` is a convolution of all channels with all, by constants."""
        if node.target is CONVOLVE:
            return node.args[1] in self._constants
        if node.target is not _CONVOLUTION:
            return False
        weight, groups = node.args[1], node.args[8]
        return weight in self._constants and bool(groups == 1)

    def _multiply(self, convolution: Node, factor: Node | float, axis: int) -> None:
        kernel = factor
        if isinstance(factor, Node):
            lengths = [-1 if place == axis else 1 for place in range(4)]
            kernel = self._constants.call(aten.view.default, factor, lengths)
        weight = self._constants.call(aten.mul.Tensor, convolution.args[1], kernel)
        convolution.update_arg(1, weight)
        is_output = axis == (1 if _is_transposed(convolution) else 0)
        if convolution.target is _CONVOLUTION and convolution.args[2] is not None and is_output:
            bias = self._constants.call(aten.mul.Tensor, convolution.args[2], factor)
            convolution.update_arg(2, bias)


def _is_transposed(node: Node) -> bool:
    return node.target is _CONVOLUTION and bool(node.args[6])
