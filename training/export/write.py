"""A bundle, written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from holdfast.bundle import (
    CARD,
    DEFENDED,
    FEATURES,
    GRADIENT,
    MANIFOLD,
    PREDICT,
    TORCHSCRIPT,
    WEIGHTS,
    Bundle,
    describe_files,
    write_manifest,
)
from holdfast.errors import UsageError
from holdfast.manifest import Defence, Manifest, Parity, Transformation
from training.card import render_card
from training.errors import ExportError, GradientError
from training.export.facts import Facts
from training.export.graphs import (
    features_graph,
    gradient_graph,
    manifold_graph,
    predict_graph,
    transformation_graph,
)
from training.export.half import Weights, compare, round_to_half
from training.export.held_out import HeldOut, measure
from training.export.place import beside, place_of
from training.export.steps import Progress, Steps, unwatched
from training.export.verify import verify
from training.export.verify_defended import verify_features, verify_manifold, verify_transformation
from training.export.weights import write_graph, write_weights
from training.models import Network
from training.models.defended import DefendedNetwork
from training.models.evidence import evidence_of
from training.torchscript import write_torchscript

_IMT: Defence = "imt"
_IMT_PLUS: Defence = "imt+"


def export_bundle(
    network: Network,
    *,
    name: str,
    version: str,
    store: Path,
    facts: Facts,
    calibration_images: np.ndarray,
    held_out: HeldOut | None = None,
    weights: Weights = "float32",
    torchscript: bool = False,
    gradient: bool = True,
    force: bool = False,
    progress: Progress = unwatched,
) -> Path:
    """Export a network as a bundle, check it against the network, and put it into a model store.

    The bundle is made beside its place and moved there when it is whole, so nobody ever sees half of one. A
    bundle that it replaces is there until then.

    Args:
        network: On the CPU, float32; it is put into eval mode and left otherwise as it was.
        name: The model's name.
        version: A positive integer as text.
        store: The model store; it is made where it is not there.
        facts: What the manifest says beside what is measured here.
        calibration_images: Real images (n, c, h, w), float32 in [0, 1], to compare graphs and network on.
        held_out: Real images with labels that the network was not trained on, for its temperature and its
            manifold's thresholds. A network that gives manifold evidence needs them.
        weights: How they are stored. With ``float16`` the network is rounded first, and what is exported,
            verified and measured is the rounded one; see :mod:`training.export.half`.
        torchscript: Write ``model.pt`` too.
        gradient: Write ``gradient.onnx``. Only a bundle of an imported network can be without.
        force: Replace a bundle of this name and version.
        progress: Called before each of :func:`count_steps` steps, and at the end.

    Returns:
        The bundle's directory.

    Raises:
        UsageError: The name, the version or the images cannot be used, or the version is there already.
        ExportError: The network cannot be exported, its graphs do not compute what it does, or its rounded
            weights are not as good. A :class:`GradientError` where only its gradient cannot be exported.
    """
    target = place_of(store, name, version, force=force)
    _check(network, facts, calibration_images, held_out)
    with beside(target, force=force) as directory, _frozen(network):
        steps = Steps(progress)
        precision, halved = None, frozenset[str]()
        if weights == "float16":
            steps.take("comparing it with its weights rounded")
            rounded = round_to_half(network)
            precision = compare(network, rounded, calibration_images, held_out, facts)
            network, halved = rounded.network, rounded.halved
        parity = _write_graphs(network, directory, facts, calibration_images, steps, halved, gradient)
        imt = _write_defences(network, directory, facts, calibration_images, steps)
        steps.take("measuring held-out images")
        found = measure(directory / PREDICT, held_out, facts, evidence_of(network))
        if torchscript:
            steps.take("writing TorchScript")
            example = torch.from_numpy(np.ascontiguousarray(calibration_images[:2], dtype=np.float32))
            write_torchscript(network, directory / TORCHSCRIPT, example)
        steps.take("writing the card")
        _write_manifest(
            directory,
            Manifest.model_validate(
                {
                    **facts.sections(),
                    "name": name,
                    "version": version,
                    "created": datetime.now(UTC).replace(microsecond=0),
                    "defences": _defences(imt),
                    "imt": imt,
                    "manifold": found.manifold,
                    "calibration": found.calibration,
                    "precision": precision,
                    "parity": parity,
                    "files": {},
                }
            ),
        )
        Bundle.open(directory)
    steps.take("done")
    return target


def _check(network: Network, facts: Facts, images: np.ndarray, held_out: HeldOut | None) -> None:
    other = {str(tensor.dtype) for tensor in network.parameters() if tensor.dtype != torch.float32}
    if other:
        raise ExportError(
            f"The network's parameters are {', '.join(sorted(other))}; only float32 is exported.",
            hint="Export network.float().",
        )
    if network.classes != len(facts.classes):
        raise ExportError(f"The network has {network.classes} classes, {len(facts.classes)} are named.")
    if images.ndim != 4 or images.shape[1:] != facts.input.shape or not len(images):
        raise UsageError(
            f"The calibration images have the shape {images.shape}; the network takes {facts.input.shape}.",
            hint="Give images of the data set that the network was trained on.",
        )
    if evidence_of(network) is not None and held_out is None:
        raise UsageError(
            "The network gives manifold evidence, and there are no held-out images for its thresholds.",
            hint="Give export_bundle held_out images with their labels.",
        )
    if isinstance(network, DefendedNetwork) and (facts.discriminator is None or facts.imt is None):
        raise UsageError("The network has a discriminator, and the facts do not say which, or IMT's step.")


@contextmanager
def _frozen(network: Network) -> Iterator[None]:
    """In eval mode, with parameters that ask for no gradient."""
    wanted = {parameter: parameter.requires_grad for parameter in network.parameters()}
    network.eval().requires_grad_(False)
    try:
        yield
    finally:
        for parameter, want in wanted.items():
            parameter.requires_grad_(want)


def _write_graphs(
    network: Network,
    directory: Path,
    facts: Facts,
    images: np.ndarray,
    steps: Steps,
    halved: frozenset[str],
    differentiable: bool,
) -> Parity:
    weights = directory / WEIGHTS
    steps.take("writing the weights")
    write_weights(network, weights, halved)
    steps.take(f"tracing {PREDICT}")
    predict = predict_graph(network, facts.input.shape)
    write_graph(predict, directory / PREDICT, weights)
    if differentiable:
        steps.take(f"tracing {GRADIENT}")
        try:
            write_graph(gradient_graph(network, facts.input.shape), directory / GRADIENT, weights)
        except ExportError as error:
            raise GradientError(error.message, hint=error.hint) from error
    return verify(
        network,
        directory / PREDICT,
        directory / GRADIENT if differentiable else None,
        images,
        before_batch=lambda: steps.take("comparing the graphs with the network"),
    )


def _write_defences(
    network: Network, directory: Path, facts: Facts, images: np.ndarray, steps: Steps
) -> Transformation | None:
    """The graphs that only a defended network has; what IMT's manifest section says, where there is IMT."""
    weights = directory / WEIGHTS
    if evidence_of(network) == "centre":
        steps.take(f"tracing {FEATURES}")
        write_graph(features_graph(network, facts.input.shape), directory / FEATURES, weights)
        verify_features(network, directory / FEATURES, images)
    if not isinstance(network, DefendedNetwork) or facts.imt is None:
        return None
    steps.take(f"tracing {MANIFOLD}")
    write_graph(manifold_graph(network, facts.input.shape), directory / MANIFOLD, weights)
    verify_manifold(network, directory / MANIFOLD, images)
    parities = []
    for defence, halved in ((_IMT, None), (_IMT_PLUS, facts.imt.halved)):
        path = directory / DEFENDED[defence]
        steps.take(f"tracing {path.name}")
        graph = transformation_graph(
            network, facts.input.shape, name=path.stem, epsilon=facts.imt.epsilon, halved=halved
        )
        write_graph(graph, path, weights)
        parities.append(
            verify_transformation(network, path, images, epsilon=facts.imt.epsilon, halved=halved)
        )
    worse = max(parities, key=lambda parity: parity.median)
    return facts.imt.model_copy(update={"parity": worse})


def _defences(imt: Transformation | None) -> list[Defence]:
    """The static model first: it is what is meant where nobody says which."""
    return ["none"] if imt is None else ["none", _IMT, _IMT_PLUS]


def _write_manifest(directory: Path, manifest: Manifest) -> None:
    files = describe_files(directory, [entry.name for entry in directory.iterdir()])
    listed = manifest.model_copy(update={"files": files})
    (directory / CARD).write_text(render_card(listed), encoding="utf-8")
    files |= describe_files(directory, [CARD])
    write_manifest(directory, manifest.model_copy(update={"files": files}))
