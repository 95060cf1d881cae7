"""The two graphs of a static model."""

from __future__ import annotations

import onnx_ir as ir

from training.export.graph import to_onnx
from training.export.losses import choose_loss
from training.export.trace import trace_gradient, trace_predict
from training.models import Network


def predict_graph(network: Network, shape: tuple[int, int, int]) -> ir.Model:
    """``predict.onnx``: ``images`` (batch, c, h, w) to ``logits`` (batch, classes).

    Args:
        network: In eval mode, its parameters frozen.
        shape: One image's shape (c, h, w).

    Raises:
        ExportError: The network cannot be traced, or not be written in ONNX.
    """
    return to_onnx(trace_predict(network, shape), name="predict", inputs=["images"], outputs=["logits"])


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
