"""A real bundle whose predictions are known by hand, made with no torch.

The model looks at 8x8 RGB images and tells red, green and blue apart: ``logits = 10 * mean of each channel``.
A pure red image therefore has logits (10, 0, 0), and the gradient of any loss with respect to a pixel of
channel c is ``10 / 64 * dloss/dlogit_c``.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import onnx
from onnx import parser
from PIL import Image
from safetensors.numpy import save

from holdfast.bundle import CARD, GRADIENT, PREDICT, WEIGHTS, describe_files, write_manifest
from holdfast.manifest import (
    Architecture,
    Dataset,
    Evaluation,
    Figure,
    InputSpec,
    Manifest,
    Parity,
    ThreatModel,
    TrainingRun,
)

CLASSES = ["red", "green", "blue"]
SIZE = 8
#: logits = SCALE * mean of each channel
SCALE = 10.0

_WEIGHTS = {
    "weight": np.eye(3, dtype=np.float32) * np.float32(SCALE),
    "bias": np.zeros(3, dtype=np.float32),
}

_HEADER = '<ir_version: 10, opset_import: ["" : 18]>'

_PREDICT = (
    _HEADER
    + """
predict (float[batch, 3, 8, 8] images) => (float[batch, 3] logits)
<float[3, 3] weight, float[3] bias>
{
    means = ReduceMean <keepdims = 0> (images, axes)
    logits = Gemm <transB = 1> (means, weight, bias)
}
"""
)

# The derivatives are written out by hand: for a linear model the input gradient is weight^T dloss/dlogits
# spread evenly over the pixels. The ids of the losses are those of holdfast.attacks.loss.
_GRADIENT = (
    _HEADER
    + """
gradient (float[batch, 3, 8, 8] images, int64[batch] labels, int64[batch] targets, int64 loss)
    => (float[batch, 3] logits, float[batch] losses, float[batch, 3, 8, 8] gradient)
<float[3, 3] weight, float[3] bias>
{
    means = ReduceMean <keepdims = 0> (images, axes)
    logits = Gemm <transB = 1> (means, weight, bias)
    y = OneHot <axis = 1> (labels, classes, off_on)
    t = OneHot <axis = 1> (targets, classes, off_on)
    p = Softmax <axis = 1> (logits)
    logp = LogSoftmax <axis = 1> (logits)

    y_far = Mul(y, far)
    without_y = Sub(logits, y_far)
    y_rival_id = ArgMax <axis = 1, keepdims = 0> (without_y)
    y_rival = OneHot <axis = 1> (y_rival_id, classes, off_on)
    t_far = Mul(t, far)
    without_t = Sub(logits, t_far)
    t_rival_id = ArgMax <axis = 1, keepdims = 0> (without_t)
    t_rival = OneHot <axis = 1> (t_rival_id, classes, off_on)

    ce_grad = Sub(p, y)
    ce_terms = Mul(logp, y)
    ce_negative = ReduceSum <keepdims = 0> (ce_terms, class_axis)
    ce = Neg(ce_negative)

    cw_grad = Sub(y_rival, y)
    cw_terms = Mul(logits, cw_grad)
    cw = ReduceSum <keepdims = 0> (cw_terms, class_axis)

    best_id = ArgMax <axis = 1, keepdims = 0> (logits)
    worst_id = ArgMin <axis = 1, keepdims = 0, select_last_index = 1> (logits)
    best = OneHot <axis = 1> (best_id, classes, off_on)
    worst = OneHot <axis = 1> (worst_id, classes, off_on)
    span_grad = Sub(best, worst)
    span_terms = Mul(logits, span_grad)
    span_exact = ReduceSum <keepdims = 1> (span_terms, class_axis)
    span = Add(span_exact, tiny)
    cw_column = Unsqueeze(cw, class_axis)
    dlr_column = Div(cw_column, span)
    dlr = Squeeze(dlr_column, class_axis)
    dlr_span_grad = Mul(dlr_column, span_grad)
    dlr_numerator = Sub(cw_grad, dlr_span_grad)
    dlr_grad = Div(dlr_numerator, span)

    tce_grad = Sub(t, p)
    tce_terms = Mul(logp, t)
    tce = ReduceSum <keepdims = 0> (tce_terms, class_axis)

    tcw_grad = Sub(t, t_rival)
    tcw_terms = Mul(logits, tcw_grad)
    tcw = ReduceSum <keepdims = 0> (tcw_terms, class_axis)

    undefined = Mul(tcw, nan)
    undefined_grad = Mul(tcw_grad, nan)

    difference_grad = Sub(t, y)
    difference_terms = Mul(logits, difference_grad)
    difference = ReduceSum <keepdims = 0> (difference_terms, class_axis)

    u0 = Unsqueeze(ce, first_axis)
    u1 = Unsqueeze(cw, first_axis)
    u2 = Unsqueeze(dlr, first_axis)
    u3 = Unsqueeze(tce, first_axis)
    u4 = Unsqueeze(tcw, first_axis)
    u5 = Unsqueeze(undefined, first_axis)
    u6 = Unsqueeze(difference, first_axis)
    all_losses = Concat <axis = 0> (u0, u1, u2, u3, u4, u5, u6)
    losses = Gather <axis = 0> (all_losses, loss)

    g0 = Unsqueeze(ce_grad, first_axis)
    g1 = Unsqueeze(cw_grad, first_axis)
    g2 = Unsqueeze(dlr_grad, first_axis)
    g3 = Unsqueeze(tce_grad, first_axis)
    g4 = Unsqueeze(tcw_grad, first_axis)
    g5 = Unsqueeze(undefined_grad, first_axis)
    g6 = Unsqueeze(difference_grad, first_axis)
    all_grads = Concat <axis = 0> (g0, g1, g2, g3, g4, g5, g6)
    logit_grad = Gather <axis = 0> (all_grads, loss)

    mean_grad = MatMul(logit_grad, weight)
    pixel_grad = Div(mean_grad, pixels)
    pixel_grad_4d = Unsqueeze(pixel_grad, image_axes)
    image_shape = Shape(images)
    gradient = Expand(pixel_grad_4d, image_shape)
}
"""
)

_CONSTANTS = {
    "axes": np.array([2, 3], dtype=np.int64),
    "image_axes": np.array([2, 3], dtype=np.int64),
    "class_axis": np.array([1], dtype=np.int64),
    "first_axis": np.array([0], dtype=np.int64),
    "classes": np.array(3, dtype=np.int64),
    "off_on": np.array([0, 1], dtype=np.float32),
    "far": np.array(1e9, dtype=np.float32),
    "tiny": np.array(1e-12, dtype=np.float32),
    "nan": np.array(np.nan, dtype=np.float32),  # targeted DLR needs four classes
    "pixels": np.array(SIZE * SIZE, dtype=np.float32),
}


def make_tiny_bundle(root: Path, name: str = "tiny", version: str = "1") -> Path:
    """Write the bundle into the model store ``root``; return its directory, ``root/name/version``."""
    directory = root / name / version
    directory.mkdir(parents=True)
    weights = save(_WEIGHTS)
    (directory / WEIGHTS).write_bytes(weights)
    for filename, text in ((PREDICT, _PREDICT), (GRADIENT, _GRADIENT)):
        (directory / filename).write_bytes(_graph(text, weights))
    (directory / CARD).write_text(f"# {name}\n\nTells red, green and blue apart.\n", encoding="utf-8")
    files = describe_files(directory, [PREDICT, GRADIENT, WEIGHTS, CARD])
    write_manifest(directory, _manifest(name, version).model_copy(update={"files": files}))
    return directory


def solid_png(colour: str | tuple[int, int, int], size: tuple[int, int] = (SIZE, SIZE)) -> bytes:
    """A PNG of one colour; ``size`` is (width, height)."""
    buffer = BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def _graph(text: str, weights: bytes) -> bytes:
    """The parsed graph with its weights as external data in the safetensors file."""
    model = parser.parse_model(text)
    del model.graph.initializer[:]
    header_length = int.from_bytes(weights[:8], "little")
    data = 8 + header_length
    entries = json.loads(weights[8:data])
    for tensor, values in _WEIGHTS.items():
        start, end = entries[tensor]["data_offsets"]
        initializer = model.graph.initializer.add(
            name=tensor, data_type=onnx.TensorProto.FLOAT, dims=values.shape
        )
        initializer.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", WEIGHTS), ("offset", data + start), ("length", end - start)):
            initializer.external_data.add(key=key, value=str(value))
    used = {name for node in model.graph.node for name in node.input}
    for constant, values in _CONSTANTS.items():
        if constant in used:
            model.graph.initializer.append(onnx.numpy_helper.from_array(values, constant))
    return model.SerializeToString()


def _manifest(name: str, version: str) -> Manifest:
    threat_model = ThreatModel(norm="linf", epsilon=8 / 255)
    return Manifest(
        name=name,
        version=version,
        created=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        description="Tells red, green and blue apart by the mean of each channel.",
        method="standard",
        recipe={"method": "standard", "epochs": 1},
        dataset=Dataset(name="colours", train_images=3),
        classes=CLASSES,
        input=InputSpec(channels=3, height=SIZE, width=SIZE),
        architecture=Architecture(name="channel-means", parameters=12),
        threat_model=threat_model,
        training=TrainingRun(epochs=1, steps=1, seed=0, hardware="none", seconds=0.0),
        parity=Parity(images=3, batch_sizes=[1, 3], logits=0.0, gradient=0.0, gradient_sign=1.0),
        libraries={"onnx": onnx.__version__},
        evaluations=[
            Evaluation(
                command="holdfast evaluate tiny",
                date=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
                dataset="colours",
                seed=0,
                figures=[
                    Figure(name="clean", accuracy=0.9, interval=(0.82, 0.95), images=100),
                    Figure(
                        name="PGD-20",
                        attack="pgd",
                        parameters={"steps": 20},
                        threat_model=threat_model,
                        accuracy=0.5,
                        interval=(0.4, 0.6),
                        images=100,
                    ),
                ],
                unreliable=None,
            )
        ],
        files={},
    )
