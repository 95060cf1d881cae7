"""Every attack gives the same on numpy and torch arrays, from the same seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.attacks import quick
from support.oracles import NumpyOracle
from torch import nn

from holdfast.attacks import attack, catalogue
from holdfast.attacks.torch_oracle import TorchOracle


@pytest.mark.parametrize("name", list(catalogue()))
def test_numpy_and_torch_arrays_take_the_same_path(name: str) -> None:
    torch.manual_seed(0)
    oracle = TorchOracle(nn.Sequential(nn.Flatten(), nn.Linear(75, 5)).requires_grad_(False), 5)
    images = torch.rand(20, 3, 5, 5, generator=torch.Generator().manual_seed(1))
    labels = oracle.logits(images).argmax(1)
    parameters = quick(name, epsilon=0.05)
    on_torch = attack(oracle, images, labels, parameters)
    on_numpy = attack(NumpyOracle(oracle), images.numpy(), labels.numpy(), parameters)
    assert isinstance(on_numpy.images, np.ndarray)
    assert isinstance(on_torch.images, torch.Tensor)
    assert on_numpy.images.dtype == np.float32
    # The sign of a gradient near zero is a matter of rounding, which differs between the two.
    same = np.abs(on_numpy.images - on_torch.images.numpy()).max((1, 2, 3)) < 1e-4
    assert same.mean() >= 0.95
    assert np.mean(on_numpy.success == on_torch.success.numpy()) >= 0.95
    assert on_numpy.success.any() or name == "noise"
