"""The graphs of a model: what it answers, what attacks ask of it, and what its defences make of an image."""

from __future__ import annotations

import onnx_ir as ir

from training.export.graph import to_onnx
from training.export.losses import choose_loss
from training.export.trace import (
    trace_features,
    trace_gradient,
    trace_manifold,
    trace_predict,
    trace_transformation,
)
from training.models import Network
from training.models.defended import DefendedNetwork
from training.models.evidence import evidence_of


def predict_graph(network: Network, shape: tuple[int, int, int]) -> ir.Model:
    """``predict.onnx``: ``images`` (batch, c, h, w) to ``logits`` (batch, classes).

    A network that gives manifold evidence has a second output, ``manifold`` (batch,); see
    :func:`training.models.evidence.classify_with_evidence`.

    Args:
        network: In eval mode, its parameters frozen.
        shape: One image's shape (c, h, w).

    Raises:
        ExportError: The network cannot be traced, or not be written in ONNX.
    """
    outputs = ["logits"] if evidence_of(network) is None else ["logits", "manifold"]
    return to_onnx(trace_predict(network, shape), name="predict", inputs=["images"], outputs=outputs)


def gradient_graph(network: Network, shape: tuple[int, int, int]) -> ir.Model:
    """``gradient.onnx``: an oracle's answer, by one forward and one backward pass.

    ``images`` (batch, c, h, w), ``labels`` and ``targets`` (batch,) and ``loss``, the id of a
    :class:`holdfast.attacks.loss.Loss`, to ``logits`` (batch, classes), ``losses`` (batch,) and ``gradient``
    (batch, c, h, w). Of a loss that there is not, or not for so few classes, losses and gradient are NaN.

    Args:
        network: In eval mode, its parameters frozen.
        shape: One image's shape (c, h, w).

    Raises:
        ExportError: The network cannot be traced, or not be written in ONNX.
    """
    model = to_onnx(
        trace_gradient(network, shape),
        name="gradient",
        inputs=["images", "slope"],
        outputs=["logits", "gradient"],
    )
    choose_loss(model, network.classes)
    return model


def transformation_graph(
    network: DefendedNetwork,
    shape: tuple[int, int, int],
    *,
    name: str,
    epsilon: float,
    halved: tuple[float, float] | None,
) -> ir.Model:
    """``predict_imt.onnx``, and with ``halved`` ``predict_imt_plus.onnx``: through the transformation.

    ``images`` (batch, c, h, w) to ``logits`` of the transformed images (batch, classes), ``manifold``
    (batch,), the score before, and ``step`` (batch,), how far each was moved. Two forward passes and one
    backward pass; see :mod:`holdfast.manifold`.

    Args:
        network: In eval mode, its parameters frozen.
        shape: One image's shape (c, h, w).
        name: The graph's name.
        epsilon: The step, in image units.
        halved: Scores between which the step is halved.

    Raises:
        ExportError: The network cannot be traced, or not be written in ONNX.
    """
    program = trace_transformation(network, shape, epsilon=epsilon, halved=halved)
    return to_onnx(program, name=name, inputs=["images"], outputs=["logits", "manifold", "step"])


def manifold_graph(network: DefendedNetwork, shape: tuple[int, int, int]) -> ir.Model:
    """``manifold.onnx``: ``images`` to the manifold ``logit`` (batch,) and its ``gradient`` (batch, c, h, w).

    What attacks on the transformation need beside ``gradient.onnx``.

    Args:
        network: In eval mode, its parameters frozen.
        shape: One image's shape (c, h, w).

    Raises:
        ExportError: The network cannot be traced, or not be written in ONNX.
    """
    program = trace_manifold(network, shape)
    return to_onnx(program, name="manifold", inputs=["images"], outputs=["logit", "gradient"])


def features_graph(network: Network, shape: tuple[int, int, int]) -> ir.Model:
    """``features.onnx``: ``images`` and ``slope`` (batch, width) to ``features`` and ``gradient``.

    What attacks on a loss of the features need, as MAT's training loss is.

    Args:
        network: In eval mode, its parameters frozen.
        shape: One image's shape (c, h, w).

    Raises:
        ExportError: The network cannot be traced, or not be written in ONNX.
    """
    program = trace_features(network, shape)
    return to_onnx(program, name="features", inputs=["images", "slope"], outputs=["features", "gradient"])
