"""``model.pt``: the network as TorchScript, for TorchServe, which loads it without this package."""

from __future__ import annotations

import tempfile
import warnings
import zipfile
from pathlib import Path

import torch
from torch import Tensor

from training.errors import ExportError
from training.models import Network
from training.models.defended import DefendedNetwork

#: The methods that the file offers; of a network with a discriminator, ``manifold_logit`` too.
METHODS = ("forward", "features")
#: Largest difference to the network that counts as equal.
TOLERANCE = 1e-4


def write_torchscript(network: Network, path: Path, example: Tensor) -> None:
    """Trace ``network`` with the methods ``forward`` and ``features`` and write it to ``path``.

    The traced network is a frozen copy of the network's computation in eval mode: its parameters ask for no
    gradient, so that autograd through it works out the input's gradient only. The same weights give the same
    bytes (for the first trace of a process: TorchScript numbers the later ones' classes), and nothing of this
    machine is in the file.

    Args:
        network: The network; it is left as it was.
        path: Where to write; a file there is replaced, whole or not at all.
        example: Images (n, c, h, w) of the right size and device; the file takes batches of any length.

    Raises:
        ExportError: The traced network does not compute what the network does.
    """
    if example.shape[0] < 2:
        example = example.expand(2, -1, -1, -1)  # a batch of one could be traced as if it were no batch
    training = network.training
    wanted = {name: parameter.requires_grad for name, parameter in network.named_parameters()}
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".torchscript-") as directory:
        try:
            network.eval().requires_grad_(False)
            with warnings.catch_warnings():
                # TorchScript is deprecated upstream; TorchServe 0.12 knows no format that replaces it.
                warnings.filterwarnings("ignore", message=r"`torch\.jit\.")
                # What tracing may get wrong in a module of somebody else's, the comparison finds out.
                warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)  # type: ignore[attr-defined]
                traced = _trace(network, example)
                clean = _save(traced, Path(directory))
                _compare(network, torch.jit.load(clean, map_location=example.device), example)  # type: ignore[no-untyped-call]
        finally:
            network.train(training)
            for name, parameter in network.named_parameters():
                parameter.requires_grad_(wanted[name])
        clean.replace(path)


def _methods(network: Network) -> tuple[str, ...]:
    return (*METHODS, "manifold_logit") if isinstance(network, DefendedNetwork) else METHODS


def _trace(network: Network, example: Tensor) -> torch.jit.ScriptModule:
    inputs = dict.fromkeys(_methods(network), example)
    # Its own check would repeat the example; ours uses other images and batch sizes.
    traced: torch.jit.ScriptModule = torch.jit.trace_module(network, inputs, check_trace=False)  # type: ignore[no-untyped-call]
    return traced


def _save(traced: torch.jit.ScriptModule, directory: Path) -> Path:
    """Save without TorchScript's debug records: they hold paths of this machine and the example's shape."""
    whole, clean = directory / "whole.pt", directory / "clean.pt"
    traced.save(str(whole))
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(clean, "w", zipfile.ZIP_STORED) as target:
        for entry in source.infolist():
            inner = entry.filename.partition("/")[2]
            if not inner.endswith(".debug_pkl") and not inner.startswith(
                ("traced_inputs", ".data/serialization_id")
            ):
                # ZipInfo's date is a constant, so equal weights give equal bytes.
                target.writestr(zipfile.ZipInfo(f"model/{inner}"), source.read(entry))
    return clean


@torch.no_grad()
def _compare(network: Network, loaded: torch.jit.ScriptModule, example: Tensor) -> None:
    """Hold the written file against the network on images and batch sizes that it was not traced with."""
    generator = torch.Generator().manual_seed(0)
    for batch in (1, 3):
        images = torch.rand((batch, *example.shape[1:]), generator=generator).to(example)
        for method in _methods(network):
            expected, found = getattr(network, method)(images), getattr(loaded, method)(images)
            difference = (expected - found).abs().max().item()
            # Written so that a difference that is not a number is refused too.
            if expected.shape != found.shape or not difference <= TOLERANCE:
                raise ExportError(
                    f"The TorchScript export's {method!r} differs from the network's by {difference:.3g}; "
                    f"at most {TOLERANCE:g} is allowed.",
                    hint="A branch of the network's code that depends on the data or on the batch size "
                    "cannot be traced: write it without one.",
                )
