"""What makes gradient.onnx fast: it stays in the blocked layout, without work that can be folded."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from support.networks import assemble, make_network, random_images
from torch import Tensor, nn
from torch.fx import GraphModule

from training.export.graphs import gradient_graph
from training.export.kernels import fold_factors
from training.export.trace import example_images, graph_of
from training.export.weights import write_graph, write_weights
from training.models import Network

aten = torch.ops.aten
SHAPE = (3, 8, 8)


@pytest.fixture(scope="module")
def network() -> Network:
    """A residual network whose channels fill the blocks of every processor."""
    return make_network("wrn-10-2", size=SHAPE[1:])


def _gradient_graph(network: Network, shape: tuple[int, int, int]) -> GraphModule:
    def function(images: Tensor, slope: Tensor) -> Tensor:
        backward = torch.func.vjp(network, images)[1]
        gradient: Tensor = backward(slope)[0]
        return gradient

    images = example_images(shape)
    return graph_of(function, [images, torch.zeros(len(images), network.classes)])


def _count(graph: GraphModule) -> Counter[object]:
    """How often each operator works on images."""
    values = ((node.target, node.meta.get("val")) for node in graph.graph.nodes)
    images = ((target, value) for target, value in values if isinstance(value, Tensor) and value.dim() == 4)
    return Counter(target for target, value in images if isinstance(value.shape[0], torch.SymInt))


def test_nothing_of_a_batch_norm_is_left_in_the_backward_pass(network: Network) -> None:
    counted = _count(_gradient_graph(network, SHAPE))
    # What is multiplied is a gradient by a mask, once for each ReLU, and nothing is divided by a deviation
    # or by the number of pixels.
    relus = counted[aten.relu.default]
    assert counted[aten.mul.Tensor] == relus == counted[torch.ops.holdfast.above.default]
    assert counted[aten.div.Tensor] == counted[aten.div.Scalar] == 0


def test_strided_layers_go_back_by_phases_and_shortcuts_join_them(network: Network) -> None:
    graph = _gradient_graph(network, SHAPE)
    counted = _count(graph)
    assert counted[torch.ops.holdfast.interleave.default] == 2
    assert counted[torch.ops.holdfast.convolve.default] == 8
    convolutions = graph.graph.find_nodes(op="call_function", target=aten.convolution.default)
    assert not any(node.args[6] for node in convolutions), "a transposed convolution is left"


def test_folding_changes_no_gradient() -> None:
    layers = [nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1), nn.Flatten()]
    network = assemble(nn.Sequential(*layers), SHAPE)
    images, slope = torch.from_numpy(random_images(3, SHAPE)), torch.rand(3, 4)
    leaf = images.clone().requires_grad_()
    (expected,) = torch.autograd.grad(network(leaf), leaf, slope)
    graph = _gradient_graph(network, SHAPE)
    torch.testing.assert_close(graph(images, slope), expected, rtol=1e-4, atol=1e-6)
    fold_factors(graph)  # once more: there is nothing left to fold
    torch.testing.assert_close(graph(images, slope), expected, rtol=1e-4, atol=1e-6)


def test_a_factor_that_others_see_is_not_folded_away() -> None:
    """The scaled image goes into a convolution and into the result: only one of the two may be folded."""
    weight, scale = torch.rand(4, 3, 1, 1), torch.tensor([2.0, 3.0, 5.0]).view(3, 1, 1)

    def function(images: Tensor) -> tuple[Tensor, Tensor]:
        scaled = images * scale
        return aten.convolution(scaled, weight, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1), scaled

    images = torch.from_numpy(random_images(2, SHAPE))
    graph = graph_of(function, [example_images(SHAPE)])
    for found, expected in zip(graph(images), function(images), strict=True):
        torch.testing.assert_close(found, expected)


def test_onnx_runtime_leaves_its_blocked_layout_only_where_it_must(network: Network, tmp_path: Path) -> None:
    weights, path = tmp_path / "model.safetensors", tmp_path / "gradient.onnx"
    write_weights(network, weights)
    write_graph(gradient_graph(network, SHAPE), path, weights)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    optimised = onnx.load(tmp_path / "optimised.onnx")
    counted = Counter(f"{node.domain}:{node.op_type}" for node in optimised.graph.node)
    blocked = "com.microsoft.nchwc:"
    if not counted[f"{blocked}Conv"]:
        pytest.skip("ONNX Runtime has no blocked layout on this processor")
    assert counted[":Conv"] == counted[":ConvTranspose"] == counted[":BatchNormalization"] == 0
    # Out: the features, the gradient, and two halves of each of two woven images. In: the two woven images.
    assert counted[f"{blocked}ReorderOutput"] <= 6
    assert counted[f"{blocked}ReorderInput"] <= 2
    # One loss and its derivative are a branch, and nothing else of the seven is in the way of an image.
    assert counted[":If"] == 1
    assert sum(counted.values()) < 120
    images = random_images(2, SHAPE)
    feeds = {"images": images, "labels": np.array([1, 2]), "targets": np.array([3, 4]), "loss": np.array(0)}
    assert np.abs(session.run(["gradient"], feeds)[0]).max() > 0
