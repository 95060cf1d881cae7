"""Oracles over the TorchScript of an archive, by autograd: what TorchServe's workers attack."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from holdfast.attacks.torch_defended import CentredOracle, TransformedOracle
from holdfast.attacks.torch_oracle import TorchOracle
from holdfast.centers import unit
from holdfast.manifest import Defence, Manifest


class ScriptedNetwork:
    """A network out of TorchScript, with what oracles ask of one.

    Args:
        script: With methods ``forward``, ``features`` and, with a discriminator, ``manifold_logit``.
        manifest: Of its bundle.
    """

    def __init__(self, script: Any, manifest: Manifest) -> None:
        self._script = script
        self._scale = float(manifest.architecture.arguments.get("scale", 1.0))
        self.classes = len(manifest.classes)

    def __call__(self, images: Tensor) -> Tensor:
        """Logits (n, classes) of images (n, c, h, w)."""
        logits: Tensor = self._script(images)
        return logits

    def features(self, images: Tensor) -> Tensor:
        """φ, (n, d)."""
        features: Tensor = self._script.features(images)
        return features

    def manifold_logit(self, images: Tensor) -> Tensor:
        """The logit of P(adversarial), (n,)."""
        logit: Tensor = self._script.manifold_logit(images)
        return logit

    @property
    def centres(self) -> Tensor:
        """A cosine head's class centres, (classes, d)."""
        weights: dict[str, Tensor] = self._script.state_dict()
        return next(tensor for name, tensor in weights.items() if name.endswith("head.centres"))

    def classify(self, features: Tensor) -> Tensor:
        """Logits of φ, by a cosine head."""
        logits: Tensor = self._scale * unit(features) @ unit(self.centres).T
        return logits


def open_torch_oracle(
    script: Any, manifest: Manifest, defence: Defence = "none"
) -> TorchOracle | TransformedOracle:
    """The oracle that knows all that a model does behind one of its defences.

    Args:
        script: The archive's TorchScript, in eval mode.
        manifest: Of its bundle; it offers the defence.
        defence: Which.
    """
    network = ScriptedNetwork(script, manifest)
    if defence != "none" and manifest.imt is not None:
        halved = manifest.imt.halved if defence == "imt+" else None
        return TransformedOracle(network, epsilon=manifest.imt.epsilon, halved=halved)
    if manifest.head == "cosine":
        return CentredOracle(network, network.centres)
    return TorchOracle(network, network.classes)
