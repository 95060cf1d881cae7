"""The choice of a loss inside ``gradient.onnx``: each loss a branch, of which only the chosen one is run.

A loss is a cheap function of the logits, and so is its derivative in the logits. But each is a dozen small
operators, and all of them together take an eighth of the time that a WRN-16-4 takes for one image. As
branches they also cannot reach each other: what is infinite or no number in one is nowhere in the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import onnx
import onnx_ir as ir
import onnx_ir.passes.common as passes
import torch
from torch import Tensor, nn

from holdfast.attacks.loss import MINIMUM_CLASSES, Loss
from holdfast.attacks.torch_losses import attack_loss
from training.export.graph import to_onnx
from training.export.trace import trace

_INTEGER, _FLOAT = ir.TensorType(ir.DataType.INT64), ir.TensorType(ir.DataType.FLOAT)


def choose_loss(model: ir.Model, classes: int) -> None:
    """Begin a backward pass with the derivative of the loss that an input chooses.

    Args:
        model: With the inputs ``images`` and ``slope`` and the outputs ``logits`` and ``gradient``; changed
            in place, to one with the inputs ``images``, ``labels``, ``targets`` and ``loss`` (its id), and
            the outputs ``logits``, ``losses`` and ``gradient``.
        classes: How many classes there are logits for.
    """
    graph = model.graph
    images, slope = graph.inputs
    logits, gradient = graph.outputs
    labels = ir.Value(name="labels", type=_INTEGER, shape=ir.Shape(["batch"]))
    targets = ir.Value(name="targets", type=_INTEGER, shape=ir.Shape(["batch"]))
    loss = ir.Value(name="loss", type=_INTEGER, shape=ir.Shape([]))
    nodes = _pick(list(Loss), loss, (logits, labels, targets), classes)
    losses, derivative = nodes[-1].outputs
    losses.name = "losses"
    for use in list(slope.uses()):
        # The length of the batch may be taken from any input, but the slope is not there before the logits.
        length = use.node.op_type == "Shape"
        use.node.replace_input_with(use.idx, images if length else derivative)
    graph.extend(nodes)
    graph.inputs[:] = [images, labels, targets, loss]
    graph.outputs[:] = [logits, losses, gradient]
    passes.TopologicalSortPass()(model)


def _pick(kinds: Sequence[Loss], loss: ir.Value, inputs: Sequence[ir.Value], classes: int) -> list[ir.Node]:
    """Nodes of which the last runs the one of ``kinds`` that ``loss`` names, and gives losses and slope."""
    first, *others = kinds
    if len(others) == 1:
        rest = _branch(others[0], inputs, classes)
    else:
        nodes = _pick(others, loss, inputs, classes)
        rest = ir.Graph([], nodes[-1].outputs, nodes=nodes, name=f"after {first.label}")
    number = ir.node("Constant", [], attributes={"value": ir.tensor(first.id, dtype=ir.DataType.INT64)})
    equal = ir.node("Equal", [loss, number.outputs[0]])
    branches = {"then_branch": _branch(first, inputs, classes), "else_branch": rest}
    pick = ir.node("If", [equal.outputs[0]], attributes=branches, num_outputs=2)
    losses, slope = pick.outputs
    for value, name in (
        (number.outputs[0], "id"),
        (equal.outputs[0], "chosen"),
        (losses, "picked_losses"),
        (slope, "picked_slope"),
    ):
        value.name = f"{first.label}/{name}"
    losses.type = slope.type = _FLOAT
    losses.shape, slope.shape = ir.Shape(["batch"]), ir.Shape(["batch", classes])
    return [number, equal, pick]


def _branch(kind: Loss, inputs: Sequence[ir.Value], classes: int) -> ir.Graph:
    """The loss and its slope as a branch, which sees the values of the graph around it."""
    model = ir.from_proto(onnx.ModelProto.FromString(_all_losses(classes)))
    graph: ir.Graph = model.graph
    place = 2 * list(Loss).index(kind)
    graph.outputs[:] = graph.outputs[place : place + 2]
    passes.RemoveUnusedNodesPass()(model)
    graph.name = kind.label
    for inner, outer in zip(graph.inputs, inputs, strict=True):
        inner.replace_all_uses_with(outer)
    graph.inputs.clear()
    for node in graph:
        node.name = f"{kind.label}/{node.name}"
        for value in node.outputs:
            value.name = f"{kind.label}/{value.name}"
    return graph


@cache
def _all_losses(classes: int) -> bytes:
    """Logits, labels and targets to every loss (n,) and its slope (n, classes), as one ONNX model."""

    def function(logits: Tensor, labels: Tensor, targets: Tensor) -> list[Tensor]:
        answers = (_loss_and_slope(kind, logits, labels, targets) for kind in Loss)
        return [tensor for answer in answers for tensor in answer]

    batch = next(length for length in (2, 3) if length != classes)
    integers = (torch.zeros(batch, dtype=torch.int64) for _ in range(2))
    program = trace(function, [torch.zeros(batch, classes), *integers], nn.Module())
    outputs = [f"{kind.label}_{name}" for kind in Loss for name in ("losses", "slope")]
    model = to_onnx(program, name="losses", inputs=["logits", "labels", "targets"], outputs=outputs)
    written: bytes = ir.to_proto(model).SerializeToString()
    return written


def _loss_and_slope(kind: Loss, logits: Tensor, labels: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    if logits.shape[1] < MINIMUM_CLASSES.get(kind, 2):
        # There is no such loss. What is no number cannot be mistaken for one.
        nothing = torch.full_like(logits, float("nan"))
        return nothing[:, 0], nothing

    def summed(z: Tensor) -> tuple[Tensor, Tensor]:
        losses = attack_loss(z, labels, kind, targets if kind.targeted else None)
        return losses.sum(), losses

    slope, losses = torch.func.grad(summed, has_aux=True)(logits)
    return losses, slope
