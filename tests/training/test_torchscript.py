"""The TorchScript file: what it computes, and what it must not carry."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from training.errors import ExportError
from training.models import Network, build
from training.torchscript import write_torchscript


def _network(architecture: str = "small-cnn") -> Network:
    torch.manual_seed(5)
    return build(architecture, classes=10, channels=1, size=(8, 8), mean=[0.5], std=[0.3])


def _images(batch: int) -> torch.Tensor:
    return torch.rand(batch, 1, 8, 8, generator=torch.Generator().manual_seed(batch))


@pytest.mark.parametrize("architecture", ["small-cnn", "wrn-10-1"])
@pytest.mark.parametrize("batch", [1, 5])
def test_forward_features_and_input_gradient_equal_the_networks(
    tmp_path: Path, architecture: str, batch: int
) -> None:
    network = _network(architecture)
    write_torchscript(network, tmp_path / "model.pt", _images(1))
    with pytest.warns(Warning, match=r"torch\.jit\.load"):
        loaded = torch.jit.load(tmp_path / "model.pt")
    network.eval()
    images = _images(batch).requires_grad_()
    torch.testing.assert_close(loaded(images), network(images))
    torch.testing.assert_close(loaded.features(images), network.features(images))
    (expected,) = torch.autograd.grad(network(images)[:, 0].sum(), images)
    (found,) = torch.autograd.grad(loaded(images)[:, 0].sum(), images)
    torch.testing.assert_close(found, expected)


def test_the_network_is_left_as_it_was(tmp_path: Path) -> None:
    network = _network().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    write_torchscript(network, tmp_path / "model.pt", _images(2))
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


_WRITE = """
import sys, torch
from pathlib import Path
from training.models import build
from training.torchscript import write_torchscript
torch.manual_seed(5)
network = build("small-cnn", classes=10, channels=1, size=(8, 8), mean=[0.5], std=[0.3])
write_torchscript(network, Path(sys.argv[1]), torch.zeros(int(sys.argv[2]), 1, 8, 8))
"""


def test_equal_weights_give_equal_bytes_under_any_name(tmp_path: Path) -> None:
    for name, batch in (("one.pt", "2"), ("two.pt", "3")):
        subprocess.run([sys.executable, "-c", _WRITE, tmp_path / name, batch], check=True, cwd=tmp_path)
    assert (tmp_path / "one.pt").read_bytes() == (tmp_path / "two.pt").read_bytes()


def test_no_path_of_this_machine_is_in_the_file(tmp_path: Path) -> None:
    write_torchscript(_network(), tmp_path / "model.pt", _images(2))
    source = Path(__file__).resolve().parents[2]
    with zipfile.ZipFile(tmp_path / "model.pt") as archive:
        for name in archive.namelist():
            content = archive.read(name)
            for trace in (source, tmp_path, Path(torch.__file__).parent):
                assert str(trace).encode() not in content, name
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.pt"]


class _BatchDependent(Network):
    def features(self, images: torch.Tensor) -> torch.Tensor:
        features = super().features(images)
        return features * 2 if len(images) == 3 else features


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_network_that_cannot_be_traced_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    plain = _network()
    network = _BatchDependent(plain.normalise, plain.body, plain.width, plain.classes)
    with pytest.raises(ExportError, match="differs"):
        write_torchscript(network, tmp_path / "model.pt", _images(2))
    assert list(tmp_path.iterdir()) == []
