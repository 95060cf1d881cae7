"""Data parallelism over processes started by ``torchrun``: every process runs the same loop on its share.

Gradients and batch statistics are averaged explicitly after each backward pass, which works for any number of
networks and backward passes in a step; the weights then stay equal on all processes by construction.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from holdfast.errors import UsageError


@dataclass(frozen=True)
class World:
    """This process among all that train together."""

    rank: int
    size: int
    device: torch.device

    @classmethod
    def current(cls, device: torch.device) -> World:
        """This process among those that have joined, for code that was handed no world."""
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size(), device)
        return cls(0, 1, device)

    @property
    def leads(self) -> bool:
        """Whether this process writes the files and talks to the user."""
        return self.rank == 0

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its mean over all processes, in one message."""
        values = [tensor for tensor in tensors if tensor.is_floating_point()]
        if self.size == 1 or not values:
            return
        flat = torch.cat([value.reshape(-1) for value in values])
        dist.all_reduce(flat)
        flat /= self.size
        for value, mean in zip(values, torch.split(flat, [value.numel() for value in values]), strict=True):
            value.copy_(mean.view_as(value))

    def average_gradients(self, network: nn.Module) -> None:
        """Average the gradients and the batch norms' running statistics."""
        self.average(p.grad for p in network.parameters() if p.grad is not None)
        self.average(network.buffers())

    def gather(self, tensor: Tensor) -> Tensor:
        """The tensors of all processes, joined in the order of their ranks.

        A loss of what was gathered is the same on every process, and its gradient reaches each one's own part
        only: the others' were computed elsewhere. That part's gradient is multiplied by the number of
        processes, so that averaging the processes' gradients gives the gradient of the loss.

        Args:
            tensor: (n, ...), of the same shape on every process.

        Returns:
            (n · size, ...).
        """
        if self.size == 1:
            return tensor
        parts = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(self.size)]
        fixed = tensor.detach()
        dist.all_gather(parts, fixed.contiguous())
        parts[self.rank] = fixed + self.size * (tensor - fixed)
        return torch.cat(parts)

    def copy_from_leader(self, network: nn.Module) -> None:
        """Give every process the leader's weights and buffers."""
        if self.size > 1:
            for value in network.state_dict().values():
                dist.broadcast(value, src=0)

    def vote(self, *flags: bool) -> tuple[bool, ...]:
        """Whether each flag is set on any process; every process gets the same answers."""
        if self.size == 1:
            return flags
        votes = torch.tensor([float(flag) for flag in flags], device=self.device)
        dist.all_reduce(votes, op=dist.ReduceOp.MAX)
        return tuple(bool(vote) for vote in votes.tolist())

    def barrier(self) -> None:
        """Wait for every process."""
        if self.size > 1:
            dist.barrier()


def join(device: str) -> World:
    """Join the processes that ``torchrun`` started, if it did.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:<n>``; with several processes each takes its own GPU.

    Raises:
        UsageError: The device is not there.
    """
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda"):
        if not torch.cuda.is_available():
            raise UsageError("There is no CUDA device here.", hint="Train with --device cpu.")
        if device == "cuda":
            device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(device)
    chosen = torch.device(device)
    if size > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    return World(rank, size, chosen)


def leave() -> None:
    """Leave the group of processes, if this one joined any."""
    if dist.is_initialized():
        dist.destroy_process_group()
