"""The weights, once: one safetensors file that training goes on from and every graph points into."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import onnx_ir as ir
from safetensors.torch import save
from torch import nn

from training.errors import ExportError

_TYPES = {
    "F32": ir.DataType.FLOAT,
    "F16": ir.DataType.FLOAT16,
    "I64": ir.DataType.INT64,
    "I32": ir.DataType.INT32,
    "U8": ir.DataType.UINT8,
    "BOOL": ir.DataType.BOOL,
}
#: Bytes of a constant that may lie in the graph itself. Whatever is larger should be a weight.
_LARGEST_CONSTANT = 1 << 16


def write_weights(network: nn.Module, path: Path, halved: Collection[str] = ()) -> None:
    """Write the network's ``state_dict`` to a safetensors file; the same weights give the same bytes.

    Args:
        network: The network.
        path: Where to write.
        halved: Names of the tensors to store as float16; see :mod:`training.export.half`.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    tensors |= {name: tensors[name].half() for name in halved}
    seen: set[int] = set()
    for (
        name,
        tensor,
    ) in tensors.items():  # safetensors takes no two tensors of one memory, as tied weights are
        if (place := tensor.untyped_storage().data_ptr()) in seen:
            tensors[name] = tensor.clone()
        seen.add(place)
    # Not safetensors' own save_file, which leaves a file that nobody but its owner may read.
    path.write_bytes(save(tensors, metadata={"format": "pt"}))


def write_graph(model: ir.Model, path: Path, weights: Path) -> None:
    """Write a graph whose initializers are external data in the weights file beside it.

    A tensor that is float16 there becomes float32 in the graph, by a cast that ONNX Runtime works out once,
    when it opens the graph and before it folds batch norm into the kernels.

    Args:
        model: Its initializers are named as the tensors in ``weights`` are; see
            :func:`training.export.graph.to_onnx`.
        path: Where to write.
        weights: The safetensors file, in the same directory.

    Raises:
        ExportError: An initializer is not in the file, or is another tensor there.
    """
    entries, base = _header(weights)
    for name, value in list(model.graph.initializers.items()):
        entry = entries.get(name)
        if entry is None and _is_small(value):
            _inline(model, name)
            continue
        if entry is None or value.shape is None or tuple(entry["shape"]) != value.shape.numpy():
            raise ExportError(
                f"The {model.graph.name} graph uses a constant {name!r} that is no weight of the network.",
                hint="Make it a buffer of the module that uses it: register_buffer(name, tensor).",
            )
        start, end = entry["data_offsets"]
        stored = _TYPES[entry["dtype"]]
        if stored == ir.DataType.FLOAT16:
            _widen(model, value)
        value.const_value = ir.ExternalTensor(
            weights.name,
            base + start,
            end - start,
            stored,
            shape=ir.Shape(entry["shape"]),
            name=name,
            base_dir=weights.parent,
        )
    path.write_bytes(ir.to_proto(model).SerializeToString(deterministic=True))


def _is_small(value: ir.Value) -> bool:
    return value.const_value is not None and value.const_value.nbytes <= _LARGEST_CONSTANT


def _inline(model: ir.Model, name: str) -> None:
    """Turn an initializer that is no weight, as code makes when it runs, into a Constant node."""
    value = model.graph.initializers.pop(name)
    constant = ir.tensor(value.const_value.numpy())  # type: ignore[union-attr]  # it is small, so it is there
    node = ir.node("Constant", [], attributes={"value": constant})
    node.outputs[0].name, node.outputs[0].shape, node.outputs[0].type = (
        f"{name}.value",
        value.shape,
        value.type,
    )
    value.replace_all_uses_with(node.outputs[0])
    model.graph.insert_before(model.graph[0], node)


def _widen(model: ir.Model, value: ir.Value) -> None:
    """Declare an initializer float16, and give all that uses it a cast to float32 in its place."""
    cast = ir.node("Cast", [value], attributes={"to": ir.DataType.FLOAT})
    wide = cast.outputs[0]
    wide.name, wide.shape, wide.type = f"{value.name}.float32", value.shape, value.type
    value.replace_all_uses_with(wide)
    cast.replace_input_with(0, value)  # the cast used it too
    value.type = ir.TensorType(ir.DataType.FLOAT16)
    model.graph.insert_before(model.graph[0], cast)


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """The file's entries by name, and where its data begins."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        entries: dict[str, Any] = json.loads(file.read(length))
    return entries, 8 + length
