"""A stream of random numbers for each step of a run, the same whether or not the run was interrupted."""

from __future__ import annotations

import torch

from holdfast.attacks.noise import TorchNoise
from training.distributed import World

# Odd constants that spread neighbouring steps and ranks over the generator's 64-bit seeds.
_STEP, _RANK, _SEED = 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9


class StepNoise(TorchNoise):
    """Noise on the training device that is a function of (seed, step, rank).

    Args:
        seed: The recipe's.
        world: This process; each draws its own noise.
    """

    def __init__(self, seed: int, world: World) -> None:
        self._stream = torch.Generator(device=world.device)
        self._base = seed * _SEED + world.rank * _RANK
        super().__init__(self._stream)

    def at(self, step: int) -> None:
        """Begin the stream of a step. Torch's global generator, which dropout uses, begins anew as well."""
        # 63 bits: a generator on the GPU takes no negative seed.
        seed = (self._base + (step + 1) * _STEP) % 2**63
        self._stream.manual_seed(seed)
        torch.manual_seed(seed ^ 1)
