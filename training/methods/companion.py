"""Networks that a method trains beside the classifier: a discriminator, a generator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from training.averaging import Average
from training.distributed import World

_NETWORK, _OPTIMISER, _AVERAGE = "network.", "optimiser.", "average."


class Companion:
    """A network with an optimiser of its own.

    A method makes its companions in :meth:`Method.companions` and steps them inside :meth:`Method.loss`, by
    :meth:`descend`; the trainer places them, schedules their rate, and saves and restores them.

    Args:
        network: With fresh weights, on the CPU. Its mode is the method's business; it begins in train mode.
        optimiser: Of the network's parameters, at the rate that it begins with.
        scheduled: Whether the rate follows the recipe's schedule, by the same factor as the classifier's.
        clip_norm: The gradient's L2 norm over all weights is cut down to this.
        exported: Whether the network belongs to the model that is exported, as ATLD's discriminator does;
            its weights are then averaged where the recipe averages the classifier's.
    """

    def __init__(
        self,
        network: nn.Module,
        optimiser: torch.optim.Optimizer,
        *,
        scheduled: bool = False,
        clip_norm: float | None = None,
        exported: bool = False,
    ) -> None:
        self.network = network.train()
        self.optimiser = optimiser
        self.exported = exported
        self.average: Average[nn.Module] | None = None
        self._scheduled, self._clip_norm = scheduled, clip_norm
        self._rates = [group["lr"] for group in optimiser.param_groups]
        self._world = World(0, 1, torch.device("cpu"))

    def join(self, world: World, *, decay: float | None = None, channels_last: bool = False) -> None:
        """Take its place in a run, before the first step.

        Args:
            world: This process among those that train together.
            decay: Of the recipe's weight averaging, where it averages.
            channels_last: The memory format of the recipe.
        """
        self._world = world
        if channels_last:
            self.network.to(memory_format=torch.channels_last)
        self.network.to(world.device)
        if self.exported and decay is not None:
            self.average = Average(self.network, decay)

    def schedule(self, factor: float) -> None:
        """Set the rate for the next steps: its first value, times the schedule's factor if it follows it."""
        for group, rate in zip(self.optimiser.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor if self._scheduled else rate

    def descend(self, loss: Tensor) -> None:
        """One step of the optimiser down ``loss``; for ascent, give its negative.

        The gradient reaches this network's weights alone, whatever else the loss was computed from, and is
        averaged over all processes, as are batch norm's statistics. The loss's graph is gone afterwards.
        """
        self.optimiser.zero_grad(set_to_none=True)
        weights = [weight for weight in self.network.parameters() if weight.requires_grad]
        loss.backward(inputs=weights)  # type: ignore[no-untyped-call]
        self._world.average_gradients(self.network)
        if self._clip_norm is not None:
            nn.utils.clip_grad_norm_(weights, self._clip_norm)
        self.optimiser.step()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Inside, what is computed with the network has no gradient in its weights, which halves a backward.

        For losses of others that this network only judges.
        """
        wanted = [weight for weight in self.network.parameters() if weight.requires_grad]
        for weight in wanted:
            weight.requires_grad_(False)
        try:
            yield
        finally:
            for weight in wanted:
                weight.requires_grad_(True)

    def state(self) -> dict[str, Tensor]:
        """All that an exact resume needs, as flat names and tensors."""
        tensors = {_NETWORK + key: value for key, value in self.network.state_dict().items()}
        for name, parameter in self.network.named_parameters():
            for key, value in self.optimiser.state.get(parameter, {}).items():
                if isinstance(value, Tensor):
                    tensors[f"{_OPTIMISER}{name}.{key}"] = value
        if self.average is not None:
            tensors |= {_AVERAGE + key: value for key, value in self.average.network.state_dict().items()}
        return tensors

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what :meth:`state` gave.

        Raises:
            RuntimeError: The tensors are of another network.
        """
        self.network.load_state_dict(part(tensors, _NETWORK))
        if self.average is not None:
            self.average.network.load_state_dict(part(tensors, _AVERAGE))
        self._restore_optimiser(part(tensors, _OPTIMISER))

    def _restore_optimiser(self, tensors: Mapping[str, Tensor]) -> None:
        names = {parameter: name for name, parameter in self.network.named_parameters()}
        state: dict[int, dict[str, Tensor]] = {}
        parameters = (p for group in self.optimiser.param_groups for p in group["params"])
        for index, parameter in enumerate(parameters):
            own = part(tensors, f"{names[parameter]}.")
            if own:
                state[index] = {key: _laid_out(value, parameter) for key, value in own.items()}
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": state, "param_groups": groups})


def _laid_out(value: Tensor, parameter: Tensor) -> Tensor:
    """What is shaped like the parameter takes its layout, which the optimiser's arithmetic keeps."""
    if value.shape != parameter.shape:
        return value
    return torch.empty_like(parameter, requires_grad=False).copy_(value)


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with ``prefix``, named by the rest."""
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
