"""From a traced program to an ONNX graph that says what it computes and nothing about where it was made."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence

import onnx_ir as ir
import onnx_ir.passes.common as passes
import onnxscript
import torch
from onnxscript.optimizer import fold_constants
from torch.export import ExportedProgram

from holdfast.version import __version__
from training.errors import ExportError
from training.export.operators import translations

#: Old enough for every ONNX Runtime that Holdfast supports, new enough for every operator here.
_OPSET = 18
_IR_VERSION = 10


def to_onnx(
    program: ExportedProgram, *, name: str, inputs: Sequence[str], outputs: Sequence[str]
) -> ir.Model:
    """Write a traced program in ONNX.

    Args:
        program: See :mod:`training.export.trace`.
        name: The graph's name.
        inputs: The inputs' names, in order.
        outputs: The outputs' names, in order.

    Returns:
        The model, whose initializers are the network's tensors under their names in its ``state_dict``. The
        same program gives the same model, bit for bit.

    Raises:
        ExportError: An operator has no form in ONNX.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's own deprecations, which nobody here can act on
            exported = torch.onnx.export(
                program,
                input_names=list(inputs),
                output_names=list(outputs),
                opset_version=_OPSET,
                dynamo=True,
                optimize=False,
                verbose=False,
                custom_translation_table=translations(getattr(onnxscript, f"opset{_OPSET}")),
            )
    except torch.onnx.OnnxExporterError as error:
        raise ExportError(
            f"The network's {name} graph cannot be written in ONNX: {_reason(error)}",
            hint="The network or its gradient has an operator that is not supported. Use another in its "
            "place, or teach it to training/export/decompositions.py.",
        ) from error
    if exported is None:
        raise ExportError(f"The exporter gave no {name} graph.")
    model = exported.model
    _simplify(model)
    model.graph.name = name
    model.ir_version = _IR_VERSION
    model.producer_name, model.producer_version = "holdfast", __version__
    return model


def _simplify(model: ir.Model) -> None:
    """Work out what is known, say it once, and drop what is not used; the weights stay what they are."""
    weights = set(model.graph.initializers)

    def may_fold(node: ir.Node) -> bool | None:
        # A folded weight would be a second copy of it, in the graph.
        return False if any(value is not None and value.name in weights for value in node.inputs) else None

    for _ in range(2):
        fold_constants(model, should_fold=may_fold)
        _constants_to_nodes(model, weights)
        for simplify in (
            passes.IdentityEliminationPass(),
            passes.CommonSubexpressionEliminationPass(),
            passes.RemoveUnusedNodesPass(),
        ):
            simplify(model)
    passes.TopologicalSortPass()(model)
    passes.ClearMetadataAndDocStringPass()(model)
    _name_batch(model)


def _constants_to_nodes(model: ir.Model, weights: set[str]) -> None:
    """Leave only the network's own tensors as initializers: what folding made becomes Constant nodes."""
    for name in [name for name in model.graph.initializers if name not in weights]:
        value = model.graph.initializers.pop(name)
        if value.const_value is None:
            continue
        node = ir.node("Constant", [], attributes={"value": ir.tensor(value.const_value.numpy())})
        node.outputs[0].shape, node.outputs[0].type = value.shape, value.type
        value.replace_all_uses_with(node.outputs[0])
        model.graph.insert_before(model.graph[0], node)


def _name_batch(model: ir.Model) -> None:
    """Call the batch's length ``batch`` in every shape: the tracer's name for it is an accident."""
    shape = model.graph.inputs[0].shape
    symbol = str(shape[0]) if shape is not None else ""
    values = [*model.graph.inputs, *model.graph.initializers.values()]
    values += [value for node in model.graph for value in node.outputs]
    for value in values:
        value.metadata_props.clear()
        if value.shape is not None:
            lengths = [str(n).replace(symbol, "batch") if not isinstance(n, int) else n for n in value.shape]
            value.shape = ir.Shape(lengths)


def _reason(error: BaseException) -> str:
    """The operator that is in the way; where the exporter names none, the innermost cause's first line."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error).strip()
    if operator := re.search(r"No ONNX function found for <OpOverload\(op='([^']+)'", text):
        return f"the operator {operator[1]} has no form in ONNX"
    return (text.splitlines() or [type(error).__name__])[0]
