"""The oracle over a bundle answers what autograd answers, and attacks end in the same images."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support.digits import train_digits

from holdfast.attacks import Loss, PGDParameters, attack
from holdfast.attacks.onnx_oracle import OnnxOracle
from holdfast.attacks.torch_oracle import TorchOracle
from holdfast.bundle import Bundle
from training.data import load


@pytest.fixture(scope="module")
def bundle(digits_store: Path) -> Bundle:
    return Bundle.open(digits_store / "digits" / "1")


@pytest.fixture(scope="module")
def oracles(bundle: Bundle) -> tuple[OnnxOracle, TorchOracle]:
    network = train_digits().eval().requires_grad_(False)
    return OnnxOracle(bundle, threads=1), TorchOracle(network, 10)


@pytest.fixture(scope="module")
def batch() -> tuple[np.ndarray, np.ndarray]:
    test = load("digits").test.take(slice(0, 60))
    return test.images.astype(np.float32) / 255, test.labels


@pytest.mark.parametrize("loss", list(Loss), ids=lambda loss: loss.label)
def test_the_graph_answers_what_autograd_answers(
    oracles: tuple[OnnxOracle, TorchOracle], batch: tuple[np.ndarray, np.ndarray], loss: Loss
) -> None:
    on_onnx, on_torch = oracles
    images, labels = batch
    targets = (labels + 3) % 10
    got = on_onnx.gradient(images, labels, loss, targets)
    expected = on_torch.gradient(
        torch.from_numpy(images), torch.from_numpy(labels), loss, torch.from_numpy(targets)
    )
    np.testing.assert_allclose(got.logits, expected.logits.numpy(), atol=1e-4)
    np.testing.assert_allclose(got.loss, expected.loss.numpy(), atol=1e-3, rtol=1e-4)
    gradient = expected.gradient.numpy()
    largest = np.abs(gradient).max()
    np.testing.assert_allclose(got.gradient / largest, gradient / largest, atol=1e-4)


@pytest.mark.parametrize("loss", ["ce", "cw", "dlr"])
def test_the_same_attack_breaks_the_same_images_on_both(
    oracles: tuple[OnnxOracle, TorchOracle], batch: tuple[np.ndarray, np.ndarray], loss: str
) -> None:
    on_onnx, on_torch = oracles
    images, labels = batch
    parameters = PGDParameters.model_validate({"epsilon": 0.1, "step_size": 0.03, "steps": 10, "loss": loss})
    first = attack(on_onnx, images, labels, parameters)
    second = attack(on_torch, torch.from_numpy(images), torch.from_numpy(labels), parameters)
    # Rounding can turn the sign of a gradient near zero, so a borderline image may differ.
    assert np.mean(first.success == second.success.numpy()) >= 0.95
    assert (first.forwards, first.backwards) == (second.forwards, second.backwards)


def test_a_bundle_is_attacked_without_torch(bundle: Bundle) -> None:
    program = f"""
import sys
sys.modules["torch"] = None
import numpy as np
from holdfast.attacks import PGDParameters, attack
from holdfast.attacks.onnx_oracle import OnnxOracle
from holdfast.bundle import Bundle
oracle = OnnxOracle(Bundle.open({str(bundle.root)!r}), threads=1)
images = np.random.default_rng(0).random((4, *oracle_shape), dtype=np.float32)
labels = oracle.logits(images).argmax(1)
parameters = PGDParameters(epsilon=0.5, step_size=0.1)
print(int(attack(oracle, images, labels, parameters).success.sum()))
""".replace("oracle_shape", ", ".join(map(str, bundle.manifest.input.shape)).join("()"))
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert int(done.stdout) >= 3
