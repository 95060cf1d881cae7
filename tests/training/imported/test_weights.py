"""Weights of somebody else's files: each tensor in its place, nothing unpickled but tensors."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from holdfast.errors import UsageError
from training.imported import load_weights


def module(classes: int = 3) -> nn.Module:
    """A layer with a batch norm behind it."""
    return nn.Sequential(OrderedDict(linear=nn.Linear(2, classes), norm=nn.BatchNorm1d(classes)))


@pytest.fixture
def trained() -> dict[str, Tensor]:
    """The weights of another such module."""
    torch.manual_seed(1)
    return module().state_dict()


@pytest.mark.parametrize(
    "wrapped", ["alone", "state_dict", "module.", "_orig_mod.module.", "safetensors", "uncounted"]
)
def test_weights_are_read_however_they_were_saved(
    wrapped: str, trained: dict[str, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "weights.pt"
    if wrapped == "safetensors":
        path = tmp_path / "weights.safetensors"
        save_file(trained, path)
    elif wrapped == "state_dict":
        torch.save({"epoch": 3, "state_dict": trained, "optimiser": {"lr": 0.1}}, path)
    elif wrapped == "uncounted":
        torch.save({key: value for key, value in trained.items() if "num_batches" not in key}, path)
    else:
        prefix = wrapped if wrapped.endswith(".") else ""
        torch.save({f"{prefix}{key}": value for key, value in trained.items()}, path)
    fresh = module()
    file = load_weights(fresh, path)
    assert torch.equal(fresh.linear.weight, trained["linear.weight"])
    assert (file.name, len(file.sha256)) == (path.name, 64)


def test_a_pickled_object_is_never_loaded(tmp_path: Path) -> None:
    torch.save(module(), tmp_path / "whole.pt")
    with pytest.raises(UsageError, match="nothing else is ever unpickled") as refusal:
        load_weights(module(), tmp_path / "whole.pt")
    assert "state_dict" in refusal.value.hint


@pytest.mark.parametrize("name", ["rubbish.pt", "rubbish.safetensors"])
def test_a_file_of_anything_else_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"these are no weights")
    with pytest.raises(UsageError, match=r"cannot be read|something other than tensors"):
        load_weights(module(), tmp_path / name)


def test_weights_of_another_module_are_refused_by_their_names(
    trained: dict[str, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "weights.pt"
    changed = dict(trained)
    changed["lineal.weight"] = changed.pop("linear.weight")
    torch.save(changed, path)
    with pytest.raises(
        UsageError, match=r"not in it: linear\.weight; .* none of the module's: lineal\.weight"
    ):
        load_weights(module(), path)
    torch.save(trained, path)
    with pytest.raises(UsageError, match=r"linear\.weight is 3x2 in the file and 5x2 in the module"):
        load_weights(module(5), path)


def test_several_sets_of_weights_and_none_are_refused(trained: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"model": trained, "ema": trained}, path)
    with pytest.raises(UsageError, match="several sets of weights: model, ema"):
        load_weights(module(), path)
    torch.save({"epoch": 3}, path)
    with pytest.raises(UsageError, match="no weights by name"):
        load_weights(module(), path)
    with pytest.raises(UsageError, match="There is no file"):
        load_weights(module(), tmp_path / "nowhere.pt")


def test_weights_that_are_no_numbers_are_refused(trained: dict[str, Tensor], tmp_path: Path) -> None:
    trained["linear.bias"][0] = float("nan")
    torch.save(trained, tmp_path / "weights.pt")
    with pytest.raises(UsageError, match=r"not finite numbers are in linear\.bias"):
        load_weights(module(), tmp_path / "weights.pt")
