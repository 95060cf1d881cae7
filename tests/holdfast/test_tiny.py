"""The bundle that other tests rely on is right: its graphs agree with autograd."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from holdfast.attacks.loss import Loss
from holdfast.attacks.onnx_oracle import OnnxOracle
from holdfast.attacks.torch_oracle import TorchOracle
from holdfast.bundle import Bundle


@pytest.mark.parametrize("loss", [loss for loss in Loss if loss is not Loss.TARGETED_DLR])
def test_gradient_graph_agrees_with_autograd(tiny_bundle: Path, loss: Loss) -> None:
    images = np.random.default_rng(0).random((5, 3, 8, 8), dtype=np.float32)
    labels, targets = np.array([0, 1, 2, 0, 1]), np.array([1, 2, 0, 2, 0])
    ours = OnnxOracle(Bundle.open(tiny_bundle), threads=1).gradient(images, labels, loss, targets)
    eager = TorchOracle(lambda x: 10 * x.mean((2, 3)), 3).gradient(
        *(torch.from_numpy(array) for array in (images, labels)), loss, torch.from_numpy(targets)
    )
    for mine, theirs in (
        (ours.logits, eager.logits),
        (ours.loss, eager.loss),
        (ours.gradient, eager.gradient),
    ):
        np.testing.assert_allclose(mine, theirs.numpy(), atol=1e-4, rtol=1e-4)


def test_predict_graph_answers_ten_times_the_channel_means(tiny_bundle: Path) -> None:
    red = np.zeros((1, 3, 8, 8), dtype=np.float32)
    red[:, 0] = 1.0
    assert OnnxOracle(Bundle.open(tiny_bundle), threads=1).logits(red).tolist() == [[10.0, 0.0, 0.0]]
