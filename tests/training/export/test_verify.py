"""The comparison that every export must pass: it lets right graphs through and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from support.exported import SHAPE, Exported
from support.networks import random_images

from holdfast.bundle import GRADIENT, PREDICT, WEIGHTS
from training.export import ExportError
from training.export.verify import batch_sizes, comparisons, verify

Break = Callable[[onnx.GraphProto], None]


def _change(source: Exported, graph: str, directory: Path, change: Break) -> tuple[Path, Path]:
    """Copies of the bundle's two graphs, one of them changed."""
    (directory / WEIGHTS).write_bytes(source.bundle.path(WEIGHTS).read_bytes())
    for name in (PREDICT, GRADIENT):
        model = onnx.load(source.bundle.path(name), load_external_data=False)
        if name == graph:
            change(model.graph)
        (directory / name).write_bytes(model.SerializeToString())
    return directory / PREDICT, directory / GRADIENT


def _after(graph: onnx.GraphProto, output: str, operator: str, *inputs: str) -> None:
    """Put an operator, with more inputs, between what makes ``output`` and the outside."""
    for node in graph.node:
        node.input[:] = [f"{name}_before" if name == output else name for name in node.input]
        node.output[:] = [f"{name}_before" if name == output else name for name in node.output]
    graph.node.append(onnx.helper.make_node(operator, [f"{output}_before", *inputs], [output]))


def _scale(output: str, factor: float) -> Break:
    def change(graph: onnx.GraphProto) -> None:
        constant = onnx.helper.make_node(
            "Constant", [], ["factor"], value=onnx.numpy_helper.from_array(np.float32(factor))
        )
        graph.node.insert(0, constant)
        _after(graph, output, "Mul", "factor")

    return change


def _flip(graph: onnx.GraphProto) -> None:
    """The gradient of the image seen in a mirror: right in size, wrong in place."""
    for name, values in (("starts", [-1]), ("ends", [-(2**31)]), ("axes", [3]), ("steps", [-1])):
        value = onnx.numpy_helper.from_array(np.array(values))
        graph.node.insert(0, onnx.helper.make_node("Constant", [], [name], value=value))
    _after(graph, "gradient", "Slice", "starts", "ends", "axes", "steps")


def _leaky_masks(graph: onnx.GraphProto) -> None:
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "HardSigmoid" and attribute.name == "beta" and attribute.f == 0:
                attribute.f = 0.1


def _first_loss_always(graph: onnx.GraphProto) -> None:
    zero = onnx.numpy_helper.from_array(np.array(0))
    graph.node.insert(0, onnx.helper.make_node("Constant", [], ["always"], value=zero))
    for node in graph.node:
        node.input[:] = ["always" if name == "loss" else name for name in node.input]


@pytest.mark.parametrize(
    ("graph", "change", "reason"),
    [
        (PREDICT, _scale("logits", 1.01), "predict.onnx gives logits"),
        (GRADIENT, _scale("logits", 1.01), "gradient.onnx gives logits"),
        (GRADIENT, _scale("losses", 0.5), "gradient.onnx gives losses 'ce'"),
        (GRADIENT, _first_loss_always, "gradient.onnx gives losses 'cw'"),
        (GRADIENT, _scale("gradient", -1.0), "sign"),
        (GRADIENT, _scale("gradient", 1.1), "differ from autograd's"),
        (GRADIENT, _scale("gradient", float("nan")), "of no use"),
        (GRADIENT, _scale("logits", float("nan")), "logits"),
        (GRADIENT, _flip, "sign"),
        (GRADIENT, _leaky_masks, "sign|autograd"),
    ],
)
def test_a_broken_graph_is_refused_with_what_is_wrong(
    exported: Exported, tmp_path: Path, graph: str, change: Break, reason: str
) -> None:
    predict, gradient = _change(exported, graph, tmp_path, change)
    with pytest.raises(ExportError, match=reason) as refusal:
        verify(exported.network, predict, gradient, random_images(8, SHAPE))
    assert "refused" in refusal.value.message


def test_a_right_graph_passes_on_any_images(exported: Exported) -> None:
    bundle, seen = exported.bundle, []
    extreme = np.stack([np.zeros(SHAPE, np.float32), np.ones(SHAPE, np.float32)])
    parity = verify(
        exported.network,
        bundle.path(PREDICT),
        bundle.path(GRADIENT),
        extreme,
        seed=3,
        before_batch=lambda: seen.append(None),
    )
    assert parity.gradient_sign > 0.999
    assert len(seen) == comparisons(SHAPE)


def test_of_large_images_fewer_are_compared() -> None:
    assert batch_sizes((3, 64, 64)) == (1, 2, 7, 32)
    assert batch_sizes((3, 224, 224)) == (1, 2, 5)
