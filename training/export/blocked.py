"""Two rewritings of a backward pass that keep it in ONNX Runtime's blocked (NCHWc) layout.

That layout is entered by convolutions and pools only, and left for every operator that does not know it.
"""

from __future__ import annotations

import torch
from torch.fx import GraphModule, Node

from training.export.nodes import Constants, arguments, shape
from training.export.operators import INTERLEAVE, SPREAD

aten = torch.ops.aten
_CONVOLUTION = aten.convolution.default
#: The arguments of a convolution after its input and its weight: no bias, stride 1, no padding, …
_PLAIN = (None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1)


def join_shortcuts(traced: GraphModule) -> None:
    """Let a strided 1x1 shortcut's gradient join the first phase of the strided convolution's beside it.

    A 1x1 convolution of stride s touches every s-th pixel only: its backward pass is the same convolution
    turned round, added to phase (0, 0), where a transposed convolution would fill an image with zeros first.

    Args:
        traced: A graph as ``make_fx`` leaves it; changed in place.
    """
    graph, constants = traced.graph, Constants(traced.graph)
    for node in list(graph.nodes):
        if node.target is not aten.add.Tensor or node.kwargs:
            continue
        pair = _woven_and_shortcut(arguments(node)) or _woven_and_shortcut(arguments(node)[::-1])
        if pair is None or pair[1].args[1] not in constants:
            continue
        (parts, strides, size), (slope, weight, *_) = map(arguments, pair)
        turned = constants.call(aten.permute.default, weight, [1, 0, 2, 3])
        with graph.inserting_before(node):
            shortcut = graph.call_function(_CONVOLUTION, (slope, turned, *_PLAIN))
            first = graph.call_function(aten.add.Tensor, (parts[0], shortcut))
            woven = graph.call_function(INTERLEAVE, ([first, *parts[1:]], strides, size))
        shortcut.meta["val"] = first.meta["val"] = parts[0].meta["val"]
        woven.meta["val"] = node.meta["val"]
        node.replace_all_uses_with(woven)
    graph.eliminate_dead_code()
    traced.recompile()


def _woven_and_shortcut(summands: list[Node]) -> tuple[Node, Node] | None:
    woven, shortcut = summands
    if not all(isinstance(part, Node) and len(part.users) == 1 for part in summands):
        return None
    if woven.target is not INTERLEAVE or shortcut.target is not _CONVOLUTION:
        return None
    parts, strides, _ = arguments(woven)
    slope, weight, _, stride, padding, _, transposed, _, groups = arguments(shortcut)
    fits = (
        transposed
        and groups == 1
        and stride == strides
        and padding == [0, 0]
        and shape(weight)[2:] == [1, 1]
        and shape(slope)[2:] == shape(parts[0])[2:]
    )
    return (woven, shortcut) if fits else None


def spread_means(traced: GraphModule) -> None:
    """Write the gradient of a global mean as a 1x1 convolution of the logits', spread over the pixels.

    It comes as a matrix product expanded to an image, which is not in the blocked layout; from there on no
    element-wise operator would be.

    Args:
        traced: A graph as ``make_fx`` leaves it; changed in place.
    """
    graph, constants = traced.graph, Constants(traced.graph)
    for node in list(graph.nodes):
        product = _product_behind(node)
        if product is None or product.args[1] not in constants:
            continue
        slope, weight = arguments(product)
        rows, columns = shape(weight)
        kernel = constants.call(aten.permute.default, weight, [1, 0])
        kernel = constants.call(aten.view.default, kernel, [columns, rows, 1, 1])
        with graph.inserting_before(node):
            line = graph.call_function(aten.unsqueeze.default, (slope, 2))
            pixel = graph.call_function(aten.unsqueeze.default, (line, 3))
            image = graph.call_function(_CONVOLUTION, (pixel, kernel, *_PLAIN))
            spread = graph.call_function(SPREAD, (image, shape(node)[2:]))
        image.meta["val"] = arguments(node)[0].meta["val"]
        spread.meta["val"] = node.meta["val"]
        node.replace_all_uses_with(spread)
    graph.eliminate_dead_code()
    traced.recompile()


def _product_behind(node: Node) -> Node | None:
    """The matrix product (n, c) of which ``node`` (n, c, h, w) is copies, if it is."""
    if node.target is not aten.expand.default or len(shape(node)) != 4:
        return None
    source: Node = arguments(node)[0]
    if shape(source)[2:] != [1, 1]:
        return None
    while source.target in (aten.unsqueeze.default, aten.view.default):
        source = arguments(source)[0]
    return source if source.target is aten.mm.default and shape(source) == shape(node)[:2] else None
