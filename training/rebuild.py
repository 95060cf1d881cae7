"""From a bundle back to the network: what training goes on from, and what TorchScript is written from.

A bundle names no code that is run here: a network that was imported comes from its TorchScript, if it has it.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from holdfast.bundle import TORCHSCRIPT, WEIGHTS, Bundle, BundleError
from holdfast.errors import UsageError
from training.models import Network, Normalise, build
from training.models.defended import DefendedNetwork
from training.models.discriminator import build_discriminator

#: Batch norm counts its batches; a model that is served needs no such count.
_UNNEEDED = ".num_batches_tracked"


def rebuild(bundle: Bundle) -> Network:
    """Build the bundle's architecture and load ``model.safetensors`` into it.

    Tensors that the network does not know are left alone: graphs may keep constants of theirs in that file.

    Returns:
        The network on the CPU, in eval mode; with its discriminator, where the bundle has one.

    Raises:
        BundleError: The weights do not fit the architecture that the manifest names, or the network was
            imported and has no TorchScript.
    """
    manifest = bundle.manifest
    if manifest.imported is not None:
        return _scripted(bundle, manifest.imported.factory)
    channels, height, width = manifest.input.shape
    # Mean and deviation are buffers of the network and come with its weights.
    arguments: dict[str, Any] = {"mean": [0.0] * channels, "std": [1.0] * channels}
    arguments |= manifest.architecture.arguments
    try:
        network = build(
            manifest.architecture.name,
            classes=len(manifest.classes),
            channels=channels,
            size=(height, width),
            head=manifest.head,
            **arguments,
        )
        judge = manifest.manifold and manifest.manifold.discriminator
        if judge:
            inputs = network.width if judge.latent == "features" else network.classes
            discriminator = build_discriminator(judge.architecture, inputs=inputs, classes=network.classes)
            network = DefendedNetwork(network, discriminator, judge.latent)
        tensors = load_file(bundle.path(WEIGHTS))
        known = network.state_dict().keys()
        result = network.load_state_dict({k: v for k, v in tensors.items() if k in known}, strict=False)
        missing = [key for key in result.missing_keys if not key.endswith(_UNNEEDED)]
        if missing:
            raise RuntimeError(f"{missing[0]} is missing")
    except (UsageError, SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise BundleError(
            f"Model {bundle.name} version {bundle.version} cannot be built again as "
            f"{manifest.architecture.name!r}: {reason}",
            hint="Export it again with this Holdfast: holdfast export",
        ) from None
    return network.eval()


def _scripted(bundle: Bundle, factory: str) -> Network:
    """The network of a bundle that was imported: what its TorchScript computes, features being logits."""
    if TORCHSCRIPT not in bundle.manifest.files:
        raise BundleError(
            f"Model {bundle.name} version {bundle.version} was imported from {factory}, and cannot be "
            f"built again from its bundle: it has no {TORCHSCRIPT}.",
            hint=f"Export it as before, and with --torchscript: holdfast export {factory} --torchscript …",
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.")  # TorchServe 0.12 knows no other format
        script = torch.jit.load(bundle.path(TORCHSCRIPT), map_location="cpu")  # type: ignore[no-untyped-call]
    channels, classes = bundle.manifest.input.channels, len(bundle.manifest.classes)
    # It normalises by itself.
    normalise = Normalise([0.0] * channels, [1.0] * channels)
    return Network(normalise, script, classes, classes, head=torch.nn.Identity()).eval()
