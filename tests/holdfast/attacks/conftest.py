"""What the tests of the attacks share: a network that knows digits, and digits that it has not seen."""

from __future__ import annotations

import pytest
import torch
from support.digits import digits, train_digits
from torch import Tensor

from training.models import Network


@pytest.fixture(scope="session")
def digits_network() -> Network:
    """A small network in eval mode, its parameters frozen."""
    return train_digits(epochs=3).requires_grad_(False)


@pytest.fixture(scope="session")
def unseen_digits() -> tuple[Tensor, Tensor]:
    """Images (297, 1, 8, 8) that it was not trained on, and their labels."""
    images, labels = digits()
    return torch.from_numpy(images[1500:]), torch.from_numpy(labels[1500:])
