"""Bundles whose weights are float16: half the bytes, the same graphs, and a network that is as good."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from safetensors.torch import load_file
from support.defended import centred_network, judged_network, make_defended_bundle
from support.digits import digits, train_digits
from support.exported import Exported
from support.networks import make_network

from holdfast.bundle import CARD, DEFENDED, FEATURES, GRADIENT, MANIFEST, MANIFOLD, PREDICT, WEIGHTS, Bundle
from training.archive import archive
from training.export.graphs import gradient_graph, predict_graph
from training.export.half import round_to_half
from training.export.verify import verify
from training.export.verify_defended import verify_features, verify_manifold, verify_transformation
from training.export.weights import write_graph, write_weights
from training.models import Network
from training.models.defended import DefendedNetwork
from training.rebuild import rebuild

_MAKE: dict[str, Callable[[], Network]] = {
    "linear": train_digits,
    "cosine": centred_network,
    "judged": judged_network,
}


class Half(NamedTuple):
    """A network that knows its digits, and its bundle with half weights."""

    network: Network
    bundle: Bundle


@pytest.fixture(scope="module", params=_MAKE)
def half(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Half:
    network, store = _MAKE[request.param](), tmp_path_factory.mktemp("store")
    return Half(network, Bundle.open(make_defended_bundle(store, network, "half", weights="float16")))


def _graphs(bundle: Bundle) -> list[str]:
    return sorted(name for name in bundle.manifest.files if name.endswith(".onnx"))


def test_kernels_are_stored_as_half_and_all_else_as_it_was(half: Half) -> None:
    network, bundle = half
    stored = load_file(bundle.path(WEIGHTS))
    kernels = {name for name, tensor in network.named_parameters() if tensor.dim() >= 2}
    assert kernels
    whole = 0
    for name, tensor in network.state_dict().items():
        expected = tensor.half() if name in kernels else tensor
        assert stored[name].dtype == expected.dtype
        assert torch.equal(stored[name], expected), name
        whole += tensor.nbytes
    assert bundle.manifest.files[WEIGHTS].size < 0.56 * whole + 8 + 120 * len(stored)


def test_every_half_tensor_in_a_graph_is_made_float32_before_anything_uses_it(half: Half) -> None:
    for name in _graphs(half.bundle):
        path = half.bundle.path(name)
        onnx.checker.check_model(str(path), full_check=True)
        graph = onnx.load(path, load_external_data=False).graph
        halves = {i.name for i in graph.initializer if i.data_type == onnx.TensorProto.FLOAT16}
        users = [node for node in graph.node if halves & set(node.input)]
        assert halves
        assert [node.op_type for node in users] == ["Cast"] * len(halves), name
        computed = [value for value in (*graph.value_info, *graph.output) if value.name not in halves]
        types = {value.type.tensor_type.elem_type for value in computed}
        assert onnx.TensorProto.FLOAT16 not in types, name


def _without_casts(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with its float16 initializers and their casts as float32 initializers again."""
    graph = model.graph
    halves = {i.name for i in graph.initializer if i.data_type == onnx.TensorProto.FLOAT16}
    nodes, values = list(graph.node), list(graph.value_info)
    casts = {node.output[0]: node.input[0] for node in nodes if node.input and node.input[0] in halves}
    del graph.node[:], graph.value_info[:]
    for node in nodes:
        if node.output[0] not in casts:
            node.input[:] = [casts.get(name, name) for name in node.input]
            graph.node.append(node)
    for value in values:
        if value.name in halves:
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
        if value.name not in casts:
            graph.value_info.append(value)
    return model


def _optimised(graph: Path, target: Path) -> list[tuple[str, str, int, list[bytes]]]:
    """The nodes that ONNX Runtime makes of a graph."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(target)
    ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    nodes = onnx.load(target).graph.node
    return [
        (
            node.domain,
            node.op_type,
            len(node.input),
            # Branches have names of their own, and are of a few numbers.
            [a.SerializeToString() for a in node.attribute if a.type != onnx.AttributeProto.GRAPH],
        )
        for node in nodes
    ]


@pytest.mark.parametrize("make", [predict_graph, gradient_graph])
def test_a_graph_is_the_float32_graph_with_casts_that_onnx_runtime_folds_before_it_folds_batch_norm(
    make: Callable[..., Any], tmp_path: Path
) -> None:
    network, shape = make_network("wrn-10-1"), (3, 8, 8)
    graphs, nodes = [], []
    for name, halved in (("whole", frozenset[str]()), ("half", round_to_half(network).halved)):
        directory = tmp_path / name
        directory.mkdir()
        write_weights(network, directory / WEIGHTS, halved)
        write_graph(make(network, shape), directory / PREDICT, directory / WEIGHTS)
        graphs.append(onnx.load(directory / PREDICT, load_external_data=False))
        nodes.append(_optimised(directory / PREDICT, directory / "optimised.onnx"))
    assert nodes[0] == nodes[1]
    assert not {"BatchNormalization", "Cast"} & {kind for _, kind, _, _ in nodes[1]}
    whole, half = graphs[0], _without_casts(graphs[1])
    for initializer in (*whole.graph.initializer, *half.graph.initializer):
        initializer.data_type = onnx.TensorProto.FLOAT
        del initializer.external_data[:]  # where a tensor lies differs, of course
    assert half == whole


def test_every_graph_computes_what_the_network_rebuilt_from_the_bundle_does(
    half: Half,
) -> None:
    _, bundle = half
    again, manifest, images = rebuild(bundle), bundle.manifest, digits()[0][-8:]
    assert {tensor.dtype for tensor in again.parameters()} == {torch.float32}
    for name, tensor in round_to_half(half.network).network.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    parity = verify(again, bundle.path(PREDICT), bundle.path(GRADIENT), images)
    assert parity.logits < 1e-4
    assert parity.gradient_sign > 0.999
    if isinstance(again, DefendedNetwork):
        assert manifest.imt is not None
        verify_manifold(again, bundle.path(MANIFOLD), images)
        for defence, halved in (("imt", None), ("imt+", manifest.imt.halved)):
            path = bundle.path(DEFENDED[defence])  # type: ignore[index]
            verify_transformation(again, path, images, epsilon=manifest.imt.epsilon, halved=halved)
    elif FEATURES in manifest.files:
        verify_features(again, bundle.path(FEATURES), images)


def test_the_manifest_and_the_card_say_what_the_rounding_changed(half: Half) -> None:
    network, bundle = half
    found = bundle.manifest.precision
    assert found is not None
    images, labels = (array[1500:] for array in digits())
    with torch.no_grad():
        logits = [n(torch.from_numpy(images)).numpy() for n in (network, rebuild(bundle))]
    assert found.images == len(images)
    assert found.logits == pytest.approx(np.abs(logits[0] - logits[1]).max(), rel=1e-2)
    assert 0 < found.logits < 0.1
    assert found.changed == pytest.approx((logits[0].argmax(1) != logits[1].argmax(1)).mean())
    assert found.accuracy == pytest.approx([(answer.argmax(1) == labels).mean() for answer in logits])
    assert found.attacked is not None
    assert found.attacked.accuracy[0] < found.accuracy[0]
    assert set(found.defended) == set(bundle.manifest.defences) - {"none"}
    assert 0.8 < found.share < 1
    card = bundle.path(CARD).read_text(encoding="utf-8")
    assert "## Stored weights" in card
    assert f"| clean | none | {found.accuracy[0]:.2%} | {found.accuracy[1]:.2%} | 297 |" in card
    assert f"| PGD-10, L∞ 0.1 | none | {found.attacked.accuracy[0]:.2%}" in card


def test_torchserve_gets_the_same_network(half: Half, tmp_path: Path) -> None:
    # It is written only if TorchScript and the graph agree.
    assert archive(half.bundle, tmp_path).name == "half.mar"


def test_weights_are_float32_unless_asked_for_otherwise(exported: Exported) -> None:
    stored = load_file(exported.bundle.path(WEIGHTS))
    for name, tensor in exported.network.state_dict().items():
        assert stored[name].dtype == tensor.dtype
        assert torch.equal(stored[name], tensor)
    for graph in _graphs(exported.bundle):
        model = onnx.load(exported.bundle.path(graph), load_external_data=False)
        assert {i.data_type for i in model.graph.initializer} == {onnx.TensorProto.FLOAT}
    assert "precision" not in json.loads((exported.bundle.root / MANIFEST).read_text(encoding="utf-8"))
    assert "Stored weights" not in exported.bundle.path(CARD).read_text(encoding="utf-8")
