"""An exponential moving average of a network's weights and batch statistics."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

N = TypeVar("N", bound=nn.Module)


class Average(Generic[N]):
    """θ̄ <- d·θ̄ + (1 − d)·θ after each step, with d held small at first so that the start is forgotten.

    Args:
        network: Whose weights are averaged.
        decay: d, once (1 + t) / (10 + t) has grown to it.
    """

    def __init__(self, network: N, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self._decay = decay

    @torch.no_grad()
    def update(self, network: N, step: int) -> None:
        """Take the weights after step number ``step`` (from 1) into the average."""
        decay = min(self._decay, (1 + step) / (10 + step))
        live = network.state_dict()
        for name, mean in self.network.state_dict().items():
            if mean.is_floating_point():
                mean.lerp_(live[name].to(mean.dtype), 1 - decay)
            else:
                mean.copy_(live[name])
