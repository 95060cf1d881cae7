"""From functions of images to programs: graphs of ATen operators, forward and backward pass alike.

A gradient is ``torch.func.vjp`` inside the traced function, so that its backward pass becomes operators like
any others, written by the decompositions of :mod:`training.export.decompositions` and tidied afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export import Dim, ExportedProgram
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext

from holdfast.manifold import transform_traceably
from training.errors import ExportError
from training.export.blocked import join_shortcuts, spread_means
from training.export.decompositions import decomposition_table
from training.export.kernels import fold_factors
from training.export.plainly import plainly
from training.models import Network
from training.models.defended import DefendedNetwork
from training.models.evidence import classify_with_evidence

#: The largest batch that programs are declared for.
_LARGEST_BATCH = 1 << 20


def trace_predict(network: Network, shape: tuple[int, int, int]) -> ExportedProgram:
    """``images`` (batch, c, h, w) to ``logits`` (batch, classes), and ``manifold`` (batch,) if there is one.

    Args:
        network: In eval mode, its parameters frozen.
        shape: One image's shape (c, h, w).
    """

    def function(images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        logits, manifold = classify_with_evidence(network, images)
        return logits if manifold is None else (logits, manifold)

    return trace(function, [example_images(shape)], network)


def trace_gradient(network: Network, shape: tuple[int, int, int]) -> ExportedProgram:
    """``images`` and the ``slope`` of a loss to ``logits`` and ``gradient``: a forward and a backward pass.

    Args:
        network: In eval mode, its parameters frozen.
        shape: One image's shape (c, h, w).

    Returns:
        A program of ``slope`` (batch, classes), the loss's derivative in the logits, and ``gradient`` (batch,
        c, h, w), its derivative in the images. :mod:`training.export.losses` works out the slope.
    """

    def function(images: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
        # Free of writes in place before it is differentiated: the derivative of one into a view is no graph.
        logits, backward = torch.func.vjp(torch.func.functionalize(network), images)[:2]
        (gradient,) = backward(slope)
        return logits, gradient

    images = example_images(shape)
    return trace(function, [images, torch.zeros(len(images), network.classes)], network)


def trace_transformation(
    network: DefendedNetwork,
    shape: tuple[int, int, int],
    *,
    epsilon: float,
    halved: tuple[float, float] | None,
) -> ExportedProgram:
    """``images`` to ``logits`` (batch, classes), ``manifold`` and ``step`` (batch,), through IMT.

    IMT+ with ``halved``. Two forward passes and one backward pass.

    Args:
        network: In eval mode, its parameters frozen.
        shape: One image's shape (c, h, w).
        epsilon: The step, in image units.
        halved: Scores between which the step is halved.
    """

    def function(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        found = transform_traceably(network.manifold_logit, images, epsilon=epsilon, halved=halved)
        return network(found.images), torch.sigmoid(found.logit), found.step

    return trace(function, [example_images(shape)], network)


def trace_manifold(network: DefendedNetwork, shape: tuple[int, int, int]) -> ExportedProgram:
    """``images`` to the manifold ``logit`` (batch,) and its ``gradient`` in the images (batch, c, h, w).

    Args:
        network: In eval mode, its parameters frozen.
        shape: One image's shape (c, h, w).
    """

    def function(images: Tensor) -> tuple[Tensor, Tensor]:
        logit, backward = torch.func.vjp(network.manifold_logit, images)[:2]
        (gradient,) = backward(torch.ones_like(logit))
        return logit, gradient

    return trace(function, [example_images(shape)], network)


def trace_features(network: Network, shape: tuple[int, int, int]) -> ExportedProgram:
    """``images`` and a ``slope`` to ``features``, both (batch, width), and ``gradient`` (batch, c, h, w).

    The gradient is that of the product of features and slope, image by image, in the images: the derivative
    of any function of the features whose own derivative in them is the slope.

    Args:
        network: In eval mode, its parameters frozen.
        shape: One image's shape (c, h, w).
    """

    def function(images: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
        features, backward = torch.func.vjp(network.features, images)[:2]
        (gradient,) = backward(slope)
        return features, gradient

    images = example_images(shape)
    return trace(function, [images, torch.zeros(len(images), network.width)], network)


def trace(function: Callable[..., Any], inputs: Sequence[Tensor], owner: nn.Module) -> ExportedProgram:
    """Trace a function of batches.

    Args:
        function: Of tensors, to one tensor or several.
        inputs: Examples. The first axis of each, where it has one, is the batch, of any length when it runs;
            all other lengths are the example's.
        owner: The module whose tensors the function uses; in the program they have the names that they have
            in its ``state_dict``.

    Raises:
        ExportError: The function cannot be traced for batches of any length.
    """
    batch = Dim("batch", min=1, max=_LARGEST_BATCH)
    lengths = tuple({0: batch} if tensor.dim() else None for tensor in inputs)
    try:
        program = _named(graph_of(function, inputs), owner)
        return torch.export.export(program, tuple(inputs), dynamic_shapes=lengths)
    except (RuntimeError, TypeError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ExportError(
            f"The network cannot be traced: {reason}",
            hint="A graph cannot hold code that looks at its input's values or at the batch's length.",
        ) from error


def graph_of(function: Callable[..., Any], inputs: Sequence[Tensor]) -> GraphModule:
    """The first half of :func:`trace`: the function as a graph, tidied, that can be run in torch."""
    # Fake tensors of our own making, because make_fx's own symbolic mode makes symbols of all lengths.
    mode = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)
    with mode, plainly():
        # Some derivatives write in place, which ONNX cannot.
        pure = torch.func.functionalize(function)
        trace_pure = make_fx(pure, decomposition_table(), tracing_mode="real", _allow_non_fake_inputs=True)
        traced = trace_pure(*(_fake(mode, tensor) for tensor in inputs))
    join_shortcuts(traced)
    spread_means(traced)
    fold_factors(traced)
    return traced


def example_images(shape: tuple[int, int, int]) -> Tensor:
    """Images to trace with: in a batch of more than one, whose length is no other length of the shape.

    Tracing takes a length of 1 for a constant, and equal lengths for the same one.
    """
    batch = next(length for length in range(2, 6) if length not in shape)
    return torch.zeros(batch, *shape)


def _fake(mode: FakeTensorMode, tensor: Tensor) -> Tensor:
    lengths = [DimDynamic.DYNAMIC if axis == 0 else DimDynamic.STATIC for axis in range(tensor.dim())]
    fake: Tensor = mode.from_tensor(tensor, symbolic_context=StatelessSymbolicContext(dynamic_sizes=lengths))
    return fake


def _named(traced: GraphModule, owner: nn.Module) -> GraphModule:
    """The same graph, with the owner's tensors under the names that they have in its ``state_dict``."""
    names = {id(tensor): name for name, tensor in owner.state_dict(keep_vars=True).items()}
    tensors = {}
    for node in traced.graph.find_nodes(op="get_attr"):
        tensor = getattr(traced, node.target)
        node.target = names.get(id(tensor), node.target)
        tensors[node.target] = tensor
    return GraphModule(tensors, traced.graph)
