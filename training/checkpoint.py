"""Checkpoints: a run's state as tensors in safetensors and facts in JSON, written whole or not at all.

    <run>/checkpoints/step-00001234/state.safetensors    networks, optimisers and averaged weights
    <run>/checkpoints/step-00001234/state.json           where the run stands, and what it is
    <run>/checkpoints/latest                             the name of the newest whole checkpoint

Nothing is pickled. Randomness needs no state: each draw is a function of the seed and of where the run is.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from holdfast.errors import HoldfastError
from training.averaging import Average
from training.methods.companion import Companion, part
from training.models import Network, build
from training.recipe import Recipe

_STATE, _FACTS, _LATEST = "state.safetensors", "state.json", "latest"
_KEPT = 2


class CheckpointError(HoldfastError):
    """A checkpoint cannot be used; the message says why."""


class DatasetFacts(BaseModel):
    """What a run needs to know of its data once the data are gone."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    digest: str
    note: str
    train_images: int
    classes: list[str]
    shape: tuple[int, int, int]
    mean: list[float]
    std: list[float]


class CheckpointInfo(BaseModel):
    """Where a run stands and what it is: ``state.json``.

    Attributes:
        recipe: The whole recipe, overrides and defaults included.
        dataset: Facts of the data trained on.
        epoch: Epochs finished.
        step_in_epoch: Steps finished of the epoch after those.
        step: Steps finished in all.
        seconds: Wall time spent in the loop so far, over all its interruptions.
        hardware: What it ran on.
        finished: Whether the recipe's last epoch is done.
        history: What was logged after each epoch.
        libraries: Versions of what computed it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: int = 1
    recipe: dict[str, Any]
    dataset: DatasetFacts
    epoch: int
    step_in_epoch: int
    step: int
    seconds: float
    hardware: str
    finished: bool
    history: list[dict[str, float]]
    libraries: dict[str, str]


def save(
    run: Path,
    info: CheckpointInfo,
    network: Network,
    optimiser: torch.optim.Optimizer,
    average: Average[Network] | None,
    companions: Mapping[str, Companion],
) -> Path:
    """Write a checkpoint into ``run`` and forget all but the newest two.

    Returns:
        The checkpoint's directory.
    """
    tensors = {f"network.{key}": value for key, value in network.state_dict().items()}
    tensors |= {f"optimiser.{key}": value for key, value in _momenta(network, optimiser).items()}
    if average is not None:
        tensors |= {f"average.{key}": value for key, value in average.network.state_dict().items()}
    for name, companion in companions.items():
        tensors |= {f"companion.{name}.{key}": value for key, value in companion.state().items()}
    directory = run / "checkpoints"
    target = directory / f"step-{info.step:08d}"
    temporary = directory / f".{target.name}.{os.getpid()}"
    temporary.mkdir(parents=True)
    save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, temporary / _STATE)
    (temporary / _FACTS).write_text(info.model_dump_json(indent=1), encoding="utf-8")
    replaced = directory / f".replaced-{target.name}.{os.getpid()}"
    if target.exists():
        target.replace(replaced)
    temporary.replace(target)
    shutil.rmtree(replaced, ignore_errors=True)
    pointer = directory / f".{_LATEST}.{os.getpid()}"
    pointer.write_text(target.name, encoding="utf-8")
    pointer.replace(directory / _LATEST)
    for old in sorted(directory.glob("step-*"))[:-_KEPT]:
        if old != target:
            shutil.rmtree(old)
    return target


def latest(path: Path) -> Path | None:
    """The newest whole checkpoint of a run's directory, or ``path`` itself where it is a checkpoint."""
    if (path / _FACTS).is_file():
        return path
    directory = path / "checkpoints"
    pointer = directory / _LATEST
    if not pointer.is_file():
        return None
    named = directory / pointer.read_text(encoding="utf-8").strip()
    # One that was being replaced when its program was killed may be gone: then the one before it counts.
    found = [named, *sorted(directory.glob("step-*"), reverse=True)]
    return next((checkpoint for checkpoint in found if (checkpoint / _FACTS).is_file()), None)


def read_info(checkpoint: Path) -> CheckpointInfo:
    """The facts of a checkpoint.

    Raises:
        CheckpointError: They are damaged.
    """
    try:
        return CheckpointInfo.model_validate_json((checkpoint / _FACTS).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise CheckpointError(
            f"{checkpoint / _FACTS} cannot be read: {type(error).__name__}.",
            hint="Delete this checkpoint; the one before it, if any, is beside it.",
        ) from None


def restore(
    checkpoint: Path,
    network: Network,
    optimiser: torch.optim.Optimizer,
    average: Average[Network] | None,
    companions: Mapping[str, Companion],
) -> None:
    """Put a checkpoint's weights and the optimisers' states back.

    Raises:
        CheckpointError: The tensors are damaged or are of other networks.
    """
    tensors = _read_tensors(checkpoint)
    _load(network, tensors, "network.", checkpoint)
    if average is not None:
        _load(average.network, tensors, "average.", checkpoint)
    for name, companion in companions.items():
        try:
            companion.restore(part(tensors, f"companion.{name}."))
        except RuntimeError as error:
            raise _other_network(checkpoint, error) from None
    momenta = part(tensors, "optimiser.")
    for name, parameter in network.named_parameters():
        if name in momenta:
            # Cloned into the parameter's own layout, which the optimiser's arithmetic keeps.
            optimiser.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).copy_(momenta[name])


def load_network(path: str | os.PathLike[str]) -> tuple[Network, CheckpointInfo]:
    """The network of a run or a checkpoint, in eval mode: the averaged weights where there are any.

    Args:
        path: A run's directory or one checkpoint in it.

    Raises:
        CheckpointError: There is no checkpoint, or it is damaged.
    """
    checkpoint = _find(path)
    info = read_info(checkpoint)
    network = network_of(info)
    _load_judged(network, _read_tensors(checkpoint), "", checkpoint)
    return network.eval(), info


def load_exported(path: str | os.PathLike[str]) -> tuple[Network, CheckpointInfo]:
    """The network of a run with what its method exports beside it, as ATLD does its discriminator.

    Args:
        path: A run's directory or one checkpoint in it.

    Returns:
        In eval mode, with averaged weights where there are any: what :meth:`Method.exported` makes of the
        classifier, which for most methods is the classifier itself; and the run's facts.

    Raises:
        CheckpointError: There is no checkpoint, or it is damaged.
    """
    checkpoint = _find(path)
    info = read_info(checkpoint)
    network = network_of(info)
    tensors = _read_tensors(checkpoint)
    _load_judged(network, tensors, "", checkpoint)
    method = Recipe.model_validate(info.recipe).make_method()
    for name, companion in method.companions(network).items():
        if companion.exported:
            _load_judged(companion.network, tensors, f"companion.{name}.", checkpoint)
    return method.exported(network).eval(), info


def network_of(info: CheckpointInfo) -> Network:
    """A network of the run's architecture, with fresh weights."""
    recipe, data = Recipe.model_validate(info.recipe), info.dataset
    return build(
        recipe.model.architecture,
        classes=len(data.classes),
        channels=data.shape[0],
        size=data.shape[1:],
        mean=data.mean,
        std=data.std,
        head=recipe.model.head,
        **recipe.model.arguments,
    )


def _find(path: str | os.PathLike[str]) -> Path:
    checkpoint = latest(Path(path))
    if checkpoint is None:
        raise CheckpointError(
            f"There is no checkpoint in {path}.", hint="Name a run's directory, e.g. runs/pgd-at-cifar10."
        )
    return checkpoint


def _load_judged(network: nn.Module, tensors: dict[str, Tensor], prefix: str, checkpoint: Path) -> None:
    """Load the averaged weights where there are any, else those that were trained."""
    averaged = part(tensors, f"{prefix}average.")
    _load(network, tensors, f"{prefix}average." if averaged else f"{prefix}network.", checkpoint)


def _momenta(network: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        name: optimiser.state[parameter]["momentum_buffer"]
        for name, parameter in network.named_parameters()
        if optimiser.state.get(parameter, {}).get("momentum_buffer") is not None
    }


def _read_tensors(checkpoint: Path) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = load_file(checkpoint / _STATE)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{checkpoint / _STATE} cannot be read: {error}.",
            hint="Delete this checkpoint; the one before it, if any, is beside it.",
        ) from None
    return tensors


def _load(network: nn.Module, tensors: dict[str, Tensor], prefix: str, checkpoint: Path) -> None:
    try:
        network.load_state_dict(part(tensors, prefix))
    except RuntimeError as error:
        raise _other_network(checkpoint, error) from None


def _other_network(checkpoint: Path, error: RuntimeError) -> CheckpointError:
    return CheckpointError(
        f"{checkpoint} is of another network: {str(error).splitlines()[-1].strip()}",
        hint="Resume with the recipe that the run was started with.",
    )
