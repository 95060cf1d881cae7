"""pyautoattack on a bundle, and the torch module that it runs on: exact derivatives of any loss."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from pyautoattack import AutoAttack
from support.digits import digits
from support.oracles import NumpyOracle, Recorder
from torch import Tensor
from torch.nn.functional import cross_entropy

from holdfast.attacks.onnx_oracle import OnnxOracle
from holdfast.attacks.reference import reference_autoattack
from holdfast.attacks.torch_bridge import OracleModule
from holdfast.attacks.torch_oracle import TorchOracle
from holdfast.bundle import resolve
from holdfast.errors import MissingExtraError
from training.models import Network
from training.rebuild import rebuild

LABELS = torch.from_numpy(digits()[1][:12])


def dlr(logits: Tensor) -> Tensor:
    top = logits.topk(3).values
    rows = torch.arange(len(logits))
    own = logits[rows, LABELS]
    other = torch.where(top[:, 0] == own, top[:, 1], top[:, 0])
    return (other - own) / (top[:, 0] - top[:, 2])


#: Losses, and how many gradients each may take for an image.
LOSSES: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "cross-entropy": (lambda z: cross_entropy(z, LABELS, reduction="none"), 1),
    "its mean": (lambda z: cross_entropy(z, LABELS).expand(12) / 12, 9),
    "dlr": (dlr, 2),
    "difference": (lambda z: z[:, 3] - z[:, 7], 1),
    "one class": (lambda z: (z - z[:, :1])[:, 4] ** 2, 1),
    "all classes": (lambda z: (z - z[:, :1]).pow(3).sum(1), 9),
    "nothing": (lambda z: 0 * z.sum(1), 0),
}


@pytest.mark.parametrize("name", LOSSES)
def test_derivatives_are_those_of_the_network(digits_network: Network, name: str) -> None:
    loss, most = LOSSES[name]
    images = torch.from_numpy(digits()[0][:12])
    recorder = Recorder(NumpyOracle(TorchOracle(digits_network, 10)))
    leaf, other = images.clone().requires_grad_(), images.clone().requires_grad_()
    logits = OracleModule(recorder)(leaf)
    (found,) = torch.autograd.grad(loss(logits).sum(), leaf)
    (expected,) = torch.autograd.grad(loss(digits_network(other)).sum(), other)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)
    plain = digits_network(images)
    torch.testing.assert_close(logits.detach(), plain - plain[:, :1])
    assert sum(len(asked) for asked in recorder.gradients) <= 12 * most


def test_a_graph_can_be_differentiated_again_and_again_as_fab_does(digits_network: Network) -> None:
    images = torch.from_numpy(digits()[0][:5]).requires_grad_()
    logits = OracleModule(NumpyOracle(TorchOracle(digits_network, 10)))(images)
    first = torch.autograd.grad(logits[:, 3].sum(), images, retain_graph=True)[0]
    second = torch.autograd.grad(logits[:, 3].sum(), images)[0]
    assert torch.equal(first, second)


@pytest.mark.parametrize("attack", ["apgd-ce", "apgd-t", "fab-t", "square"])
def test_on_a_bundle_it_finds_what_it_finds_on_the_network(
    digits_store: Path, unseen_digits: tuple[Tensor, Tensor], attack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = resolve("digits", digits_store)
    network, oracle = rebuild(bundle).requires_grad_(False), OnnxOracle(bundle, threads=1)
    made = AutoAttack.__init__

    def fewer(self: AutoAttack, *arguments: object, **keywords: object) -> None:
        made(self, *arguments, **keywords)
        self.apgd_targeted.n_target_classes = self.fab.n_target_classes = 2
        self.fab.n_iter, self.square.n_queries = 15, 100

    monkeypatch.setattr(AutoAttack, "__init__", fewer)
    images, labels = unseen_digits[0][:40], unseen_digits[1][:40]
    found = reference_autoattack(
        oracle, images.numpy(), labels.numpy(), norm="linf", epsilon=0.12, attacks=[attack]
    )
    assert found.dtype == np.float32
    assert np.abs(found - images.numpy()).max() <= 0.12 + 1e-6
    expected, _ = AutoAttack(
        network, norm="Linf", eps=0.12, seed=0, version="custom", attacks=[attack]
    ).run_standard_evaluation(images, labels)
    fallen = oracle.logits(found).argmax(1) != labels.numpy()
    assert 0.1 < fallen.mean() < 0.9
    assert np.mean(fallen == (network(expected).argmax(1) != labels).numpy()) >= 0.97


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "pyautoattack", None)
    nothing = np.zeros((1, 1, 8, 8), dtype=np.float32)
    with pytest.raises(MissingExtraError) as caught:
        reference_autoattack(
            NumpyOracle(TorchOracle(lambda x: x, 10)), nothing, np.zeros(1), norm="linf", epsilon=0.1
        )
    assert "pyautoattack" in caught.value.message
    assert "holdfast[autoattack]" in caught.value.hint
