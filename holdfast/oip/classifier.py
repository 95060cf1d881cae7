"""What a classifier of Holdfast is in this protocol: one input, and an output for each thing it says.

``images`` is float32 (n, channels, height, width) in [0, 1], and nothing else: bytes of 0 to 255 would be
taken for white, and a half-precision pixel is not the pixel that a budget of 8/255 was measured on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast import npy
from holdfast.manifest import Manifest
from holdfast.oip.wire import (
    BINARY_TYPE,
    HEADER_LENGTH,
    JSON_TYPE,
    Array,
    Message,
    ProtocolError,
    Tensor,
    TooManyValuesError,
    write,
)
from holdfast.probabilities import probabilities

#: What a server of Holdfast calls, among its extensions, that ``parameters`` may name a ``defence``.
DEFENCE_EXTENSION = "holdfast_defence"
#: The platform of a bundle, by the protocol's convention <project>_<format>.
ONNX, TORCHSCRIPT = "onnx_onnxv1", "pytorch_torchscript"

IMAGES = "images"
#: Values that a request's JSON may hold beside its pixels: names, parameters, outputs.
_OTHER_VALUES = 1024
#: What an output may be asked for with.
_OUTPUT_PARAMETERS = {"binary_data"}


@dataclass(frozen=True)
class Asked:
    """A request for a classification.

    Attributes:
        images: float32 (n, channels, height, width) in [0, 1].
        id: The caller's name for the request, to be sent back.
        defence: The defence that is asked for, or ``default``.
        outputs: The outputs that are asked for, and whether each is to come as bytes.
    """

    images: NDArray[np.float32]
    id: str | None
    defence: str
    outputs: Mapping[str, bool]


def describe(manifest: Manifest, versions: Sequence[str], platform: str) -> dict[str, Any]:
    """A model's metadata, with its classes and defences as parameters."""
    inputs = [{"name": IMAGES, "datatype": "FP32", "shape": [-1, *manifest.input.shape]}]
    return {
        "name": manifest.name,
        "versions": list(versions),
        "platform": platform,
        "inputs": inputs,
        "outputs": [
            {"name": name, "datatype": datatype, "shape": [-1, *rest]}
            for name, (datatype, rest) in offered(manifest).items()
        ],
        # A parameter is a string, a number or a boolean.
        "parameters": {
            "version": manifest.version,
            "classes": json.dumps(manifest.classes, ensure_ascii=False),
            "defences": json.dumps(manifest.defences),
        },
    }


def offered(manifest: Manifest) -> dict[str, tuple[str, list[int]]]:
    """The outputs of a model: each one's datatype and its shape for one image."""
    classes = len(manifest.classes)
    outputs = {"logits": ("FP32", [classes]), "probabilities": ("FP32", [classes]), "label": ("BYTES", [])}
    if manifest.manifold is not None:
        outputs |= {"manifold": ("FP32", []), "verdict": ("BYTES", [])}
    if manifest.imt is not None:
        outputs["moved"] = ("FP32", [])
    return {name: (datatype, list(rest)) for name, (datatype, rest) in outputs.items()}


def max_values(manifest: Manifest, max_images: int) -> int:
    """The most values that the JSON of a request for this model may hold."""
    channels, height, width = manifest.input.shape
    return max_images * channels * height * width + _OTHER_VALUES


def read_request(message: Message, manifest: Manifest, *, max_images: int) -> Asked:
    """What a request asks for.

    Raises:
        ProtocolError: It is not a request that this model takes.
        ArrayError: Its values are no images.
    """
    if message.content is None:
        tensor, content = _bare(message, manifest), {}
        binary = True
    else:
        tensors = message.tensors("inputs")
        if [tensor.name for tensor in tensors] != [IMAGES]:
            raise ProtocolError(f"'inputs' is to be one tensor, '{IMAGES}'.")
        tensor, content = tensors[0], dict(message.content)
        binary = False
    _check(tensor, manifest, max_images)
    parameters = content.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise ProtocolError("'parameters' is to be an object.")
    given_id, defence = content.get("id"), parameters.get("defence", "default")
    if not isinstance(given_id, str | None) or not isinstance(defence, str):
        raise ProtocolError("'id' and the parameter 'defence' are to be strings.")
    outputs = _outputs(content.get("outputs"), manifest, _flag(parameters, "binary_data_output", binary))
    # Behind JSON of any length, bytes lie where they lie; a runtime's vector instructions want them aligned.
    images: NDArray[np.float32] = np.require(tensor.values(), np.float32, ["ALIGNED"])
    npy.check_range(images)
    return Asked(images, given_id or None, defence, outputs)


def answer(
    manifest: Manifest,
    asked: Asked,
    *,
    defence: str,
    logits: NDArray[np.float32],
    manifold: NDArray[np.float32] | None = None,
    moved: NDArray[np.float32] | None = None,
) -> tuple[bytes, dict[str, str]]:
    """The body of an answer to n images, and its headers.

    Args:
        manifest: The model's.
        asked: What was asked for.
        defence: The defence that was used.
        logits: (n, classes).
        manifold: (n,), the model's evidence, if it gave any.
        moved: (n,), how far the defence moved each image; without one, none was moved.
    """
    moved = np.zeros(len(logits), dtype=np.float32) if moved is None else moved
    said: dict[str, Array] = {"logits": logits, "moved": moved}
    if {"probabilities", "label"} & set(asked.outputs):
        temperature = 1.0 if manifest.calibration is None else manifest.calibration.temperature
        chances = probabilities(logits, temperature)
        labels = [manifest.classes[best] for best in chances.argmax(axis=1)]
        said |= {"probabilities": chances.astype(np.float32), "label": np.array(labels, dtype=object)}
    if manifold is not None and manifest.manifold is not None:
        verdicts = [manifest.manifold.verdict(score) for score in manifold.tolist()]
        said |= {"manifold": manifold, "verdict": np.array(verdicts, dtype=object)}
    outputs = {name: said[name] for name in asked.outputs if name in said}
    content: dict[str, Any] = {"model_name": manifest.name, "model_version": manifest.version}
    if asked.id is not None:
        content["id"] = asked.id
    content["parameters"] = {"defence": defence}
    body, length = write(content, "outputs", outputs, [name for name in outputs if asked.outputs[name]])
    if length is None:
        return body, {"Content-Type": JSON_TYPE}
    return body, {"Content-Type": BINARY_TYPE, HEADER_LENGTH: str(length)}


def _bare(message: Message, manifest: Manifest) -> Tensor:
    """The images of a body that is nothing but their bytes; their number follows from its length."""
    channels, height, width = manifest.input.shape
    size = 4 * channels * height * width
    images, rest = divmod(len(message.binary), size)
    if rest or not images:
        raise ProtocolError(
            f"A body that is one tensor without JSON is images of {size} bytes each, as float32 in the "
            f"shape {[channels, height, width]}; this one has {len(message.binary)} bytes."
        )
    return Tensor(IMAGES, "FP32", (images, channels, height, width), {}, message.binary)


def _check(tensor: Tensor, manifest: Manifest, max_images: int) -> None:
    """Refuse, before its values are read, a tensor that cannot be images for this model."""
    if tensor.datatype != "FP32":
        raise ProtocolError(
            f"The tensor '{IMAGES}' is to be FP32, values in [0, 1], and is {tensor.datatype}.",
            hint="Divide pixels of 0 to 255 by 255.",
        )
    if tensor.shape[1:] != manifest.input.shape or not tensor.shape[0]:
        raise ProtocolError(
            f"The tensor '{IMAGES}' is to have the shape {[-1, *manifest.input.shape]}, and has "
            f"{list(tensor.shape)}."
        )
    if tensor.shape[0] > max_images:
        raise TooManyValuesError(
            f"The request has {tensor.shape[0]} images, more than the {max_images} that are taken at once."
        )


def _outputs(given: Any, manifest: Manifest, binary: bool) -> dict[str, bool]:
    """The outputs that are asked for, and whether each is to come as bytes; all where none is named."""
    known = offered(manifest)
    if given is None or given == []:
        return dict.fromkeys(known, binary)
    if not isinstance(given, list):
        raise ProtocolError("'outputs' is to be a list.")
    outputs: dict[str, bool] = {}
    for index, entry in enumerate(given):
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(name, str) or name not in known:
            raise ProtocolError(f"outputs[{index}] is no output of this model; it has {', '.join(known)}.")
        if name in outputs:
            raise ProtocolError(f"outputs[{index}] asks for '{name}' a second time.")
        parameters = entry.get("parameters") or {}
        if not isinstance(parameters, dict) or not set(parameters) <= _OUTPUT_PARAMETERS:
            raise ProtocolError(f"outputs[{index}] may have one parameter, 'binary_data'.")
        outputs[name] = _flag(parameters, "binary_data", binary)
    return outputs


def _flag(parameters: Mapping[str, Any], name: str, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise ProtocolError(f"The parameter '{name}' is to be true or false.")
    return value
