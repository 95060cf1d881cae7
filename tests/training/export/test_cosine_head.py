"""A network with a cosine head as a bundle: what it answers, how it is attacked, how it is built again."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support.networks import make_facts, make_network, random_images

from holdfast.attacks import PGDParameters, attack
from holdfast.attacks.loss import Loss
from holdfast.attacks.onnx_oracle import OnnxOracle
from holdfast.attacks.torch_oracle import TorchOracle
from holdfast.bundle import WEIGHTS, Bundle
from holdfast.manifest import Architecture
from training.export import HeldOut, export_bundle
from training.models import Network
from training.rebuild import rebuild

SHAPE = (1, 8, 8)
ARGUMENTS = {"embedding": 12, "scale": 4.0}


@pytest.fixture(scope="module")
def network() -> Network:
    return make_network("small-cnn", channels=1, size=SHAPE[1:], head="cosine", **ARGUMENTS)


@pytest.fixture(scope="module")
def bundle(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    facts = dataclasses.replace(
        make_facts(network, SHAPE),
        head="cosine",
        architecture=Architecture(name="small-cnn", arguments=ARGUMENTS),
    )
    images = random_images(40, SHAPE, seed=7)
    root: Path = export_bundle(
        network,
        name="centres",
        version="1",
        store=tmp_path_factory.mktemp("store"),
        facts=facts,
        calibration_images=images[:8],
        held_out=HeldOut(images, network(torch.from_numpy(images)).argmax(1).numpy()),
    )
    return Bundle.open(root)


def test_the_bundle_says_its_head_and_keeps_its_centres(network: Network, bundle: Bundle) -> None:
    assert bundle.manifest.head == "cosine"
    saved = load_file(bundle.path(WEIGHTS))
    torch.testing.assert_close(saved["head.centres"], network.state_dict()["head.centres"], rtol=0, atol=0)


def test_the_logits_of_the_graph_are_cosines(network: Network, bundle: Bundle) -> None:
    images = random_images(5, SHAPE, seed=9)
    logits = OnnxOracle(bundle).logits(images)
    assert np.abs(logits).max() <= 4 + 1e-5
    with torch.no_grad():
        expected = network(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(logits, expected, atol=1e-5)


@pytest.mark.parametrize("loss", list(Loss), ids=lambda loss: loss.label)
@pytest.mark.parametrize("batch", [1, 5])
def test_every_loss_and_its_gradient_are_those_of_torch(
    network: Network, bundle: Bundle, loss: Loss, batch: int
) -> None:
    images = random_images(batch, SHAPE, seed=99)
    labels = np.arange(batch) % network.classes
    targets = (labels + 1) % network.classes
    found = OnnxOracle(bundle).gradient(images, labels, loss, targets)
    expected = TorchOracle(network, network.classes).gradient(
        *(torch.from_numpy(array) for array in (images, labels)), loss, torch.from_numpy(targets)
    )
    np.testing.assert_allclose(found.loss, expected.loss.numpy(), rtol=1e-3, atol=1e-4)
    largest = expected.gradient.abs().max().item()
    np.testing.assert_allclose(found.gradient / largest, expected.gradient.numpy() / largest, atol=1e-3)


def test_an_attack_ends_in_the_same_classes_on_the_graph_and_in_torch(
    network: Network, bundle: Bundle
) -> None:
    images = random_images(24, SHAPE, seed=4)
    oracle = OnnxOracle(bundle)
    labels = oracle.logits(images).argmax(1)
    parameters = PGDParameters(epsilon=0.02, step_size=0.005, steps=8, loss="cw")
    on_onnx = attack(oracle, images, labels, parameters)
    on_torch = attack(
        TorchOracle(network, network.classes), torch.from_numpy(images), torch.from_numpy(labels), parameters
    )
    assert 0 < on_onnx.success.mean() < 1
    # Rounding can turn the sign of a gradient near zero, so a borderline image may differ.
    assert np.mean(on_onnx.success == on_torch.success.numpy()) >= 0.95


def test_the_network_is_built_again_from_the_bundle(network: Network, bundle: Bundle) -> None:
    again = rebuild(bundle)
    images = torch.from_numpy(random_images(3, SHAPE))
    torch.testing.assert_close(again(images), network(images), rtol=0, atol=0)
