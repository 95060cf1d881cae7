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
    nodes = _pick(0, loss, (logits, labels, targets), classes)
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


def _pick(place: int, loss: ir.Value, inputs: Sequence[ir.Value], classes: int) -> list[ir.Node]:
    """Nodes of which the last runs the loss that is chosen, from ``place`` on, and gives losses and slope."""
    kind = list(Loss)[place]
    if place + 1 < len(Loss):
        nodes = _pick(place + 1, loss, inputs, classes)
        rest = ir.Graph([], nodes[-1].outputs, nodes=nodes, name=f"after {kind.label}")
    else:
        rest = _branch(place + 1, "no loss", inputs, classes)
    number = ir.node("Constant", [], attributes={"value": ir.tensor(kind.id, dtype=ir.DataType.INT64)})
    equal = ir.node("Equal", [loss, number.outputs[0]])
    branches = {"then_branch": _branch(place, kind.label, inputs, classes), "else_branch": rest}
    pick = ir.node("If", [equal.outputs[0]], attributes=branches, num_outputs=2)
    losses, slope = pick.outputs
    for value, name in (
        (number.outputs[0], "id"),
        (equal.outputs[0], "chosen"),
        (losses, "picked_losses"),
        (slope, "picked_slope"),
    ):
        value.name = f"{kind.label}/{name}"
    losses.type = slope.type = _FLOAT
    losses.shape, slope.shape = ir.Shape(["batch"]), ir.Shape(["batch", classes])
    return [number, equal, pick]


def _branch(place: int, label: str, inputs: Sequence[ir.Value], classes: int) -> ir.Graph:
    """A loss and its slope as a branch, which sees the values of the graph around it."""
    model = ir.from_proto(onnx.ModelProto.FromString(_all_losses(classes)))
    graph: ir.Graph = model.graph
    graph.outputs[:] = graph.outputs[2 * place : 2 * place + 2]
    passes.RemoveUnusedNodesPass()(model)
    graph.name = label
    for inner, outer in zip(graph.inputs, inputs, strict=True):
        inner.replace_all_uses_with(outer)
    graph.inputs.clear()
    for node in graph:
        node.name = f"{label}/{node.name}"
        for value in node.outputs:
            value.name = f"{label}/{value.name}"
    return graph


@cache
def _all_losses(classes: int) -> bytes:
    """Logits, labels and targets to all losses (n,) and slopes (n, classes), and to none: one ONNX model."""

    def function(logits: Tensor, labels: Tensor, targets: Tensor) -> list[Tensor]:
        answers = [_loss_and_slope(kind, logits, labels, targets) for kind in Loss]
        return [tensor for answer in (*answers, _no_loss(logits)) for tensor in answer]

    batch = next(length for length in (2, 3) if length != classes)
    integers = (torch.zeros(batch, dtype=torch.int64) for _ in range(2))
    program = trace(function, [torch.zeros(batch, classes), *integers], nn.Module())
    labels = [*(kind.label for kind in Loss), "no loss"]
    outputs = [f"{label}/{name}" for label in labels for name in ("losses", "slope")]
    model = to_onnx(program, name="losses", inputs=["logits", "labels", "targets"], outputs=outputs)
    written: bytes = ir.to_proto(model).SerializeToString()
    return written


def _loss_and_slope(kind: Loss, logits: Tensor, labels: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    if logits.shape[1] < MINIMUM_CLASSES.get(kind, 2):
        return _no_loss(logits)

    def summed(z: Tensor) -> tuple[Tensor, Tensor]:
        losses = attack_loss(z, labels, kind, targets if kind.targeted else None)
        return losses.sum(), losses

    slope, losses = torch.func.grad(summed, has_aux=True)(logits)
    return losses, slope


def _no_loss(logits: Tensor) -> tuple[Tensor, Tensor]:
    """For a loss that there is not: what is no number cannot be mistaken for one."""
    nothing = torch.full_like(logits, float("nan"))
    return nothing[:, 0], nothing
