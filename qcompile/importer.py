"""Import an ONNX file: one opset, no functions, fixed shapes, constants folded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import onnx
import onnx.external_data_helper
import onnx_ir as ir
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx_ir.passes import common
from onnxscript.optimizer import fold_constants

from qcompile.errors import CompileError
from qcompile.input_shapes import STANDARD_DOMAINS, Shapes, fix_input_shapes
from qcompile.opset import convert_opset, inline_functions, one_line

Source = Path | str | onnx.ModelProto | ir.Model

FOLD_LIMIT = 1 << 22
"""Elements by which folding one node may make the model grow."""


def load_model(source: Source, shapes: Shapes | None = None) -> ir.Model:
    """Return a model that every pass can work on.

    The default opset is OPSET; functions are inlined; constants, shape arithmetic included,
    are initializers of the main graph and no inputs; every value has a fixed shape and a
    type; every node has a name of its own. Inputs and outputs keep their names.

    Args:
        source: A file, or a model in memory, which is left as it is.
        shapes: Shapes of inputs that the model leaves open, as `--shape` gives them.

    Raises:
        CompileError: It is no valid ONNX model, or one that cannot be brought to this form.
    """
    try:
        model = _import(_read(source), shapes or {})
    except CompileError as error:
        if not isinstance(source, Path | str) or error.where == "--shape":
            raise
        where = f"{source}: {error.where}" if error.where else str(source)
        raise CompileError(error.problem, where=where, hint=error.hint) from error
    return model


def _import(proto: onnx.ModelProto, shapes: Shapes) -> ir.Model:
    _check(proto)
    proto = inline_functions(proto)
    _refuse_half(proto)
    fix_input_shapes(proto, shapes)
    model = ir.from_proto(convert_opset(proto))
    _run(
        model,
        common.RemoveInitializersFromInputsPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.LiftSubgraphInitializersToMainGraphPass(),
        common.NameFixPass(),
    )
    fold_constants(
        model,
        onnx_shape_inference=True,
        input_size_limit=FOLD_LIMIT,
        output_size_limit=FOLD_LIMIT,
        should_fold=_may_fold,
    )
    _run(
        model,
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.LiftSubgraphInitializersToMainGraphPass(),
        common.OutputFixPass(),
        common.RemoveUnusedNodesPass(),
        common.NameFixPass(),
    )
    _name_nodes(model)
    _infer_shapes(model)
    return model


def _run(model: ir.Model, *steps: ir.passes.InPlacePass) -> None:
    for step in steps:
        step(model)


def _read(source: Source) -> onnx.ModelProto:
    """Return the model of a file or a copy of the one given, with its weights loaded."""
    if isinstance(source, ir.Model):
        return ir.to_proto(source)
    if isinstance(source, onnx.ModelProto):
        copy = onnx.ModelProto()
        copy.CopyFrom(source)
        return copy
    path = Path(source)
    try:
        if path.is_file() and path.stat().st_size == 0:
            raise CompileError("the file is empty", hint="export the model again")
        proto = onnx.load_model(path, format="protobuf", load_external_data=False)
    except FileNotFoundError as error:
        raise CompileError("no such file") from error
    except OSError as error:
        raise CompileError(f"cannot be read: {os.strerror(error.errno or 0)}") from error
    except DecodeError as error:
        raise CompileError("not an ONNX model, or cut off", hint=EXPORT_AGAIN) from error
    try:
        onnx.external_data_helper.load_external_data_for_model(proto, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise CompileError(
            f"its external data cannot be read: {one_line(error)}",
            hint="keep the data file beside the model, under the name the model has for it",
        ) from error
    return proto


EXPORT_AGAIN = "export it again, or copy it again in binary mode"


def _check(proto: onnx.ModelProto) -> None:
    """Refuse what is not a valid ONNX model."""
    if not proto.HasField("graph") or not proto.HasField("ir_version"):
        raise CompileError("not an ONNX model, or cut off", hint=EXPORT_AGAIN)
    if any(onnx.external_data_helper.uses_external_data(t) for t in proto.graph.initializer):
        raise CompileError(
            "its weights lie in a file that was not loaded",
            hint="give the path of the file, or onnx.load it with its external data",
        )
    try:
        onnx.checker.check_model(proto)
    except (onnx.checker.ValidationError, ValueError) as error:
        raise CompileError(
            f"not a valid ONNX model: {one_line(error)}",
            hint="export it again; onnx.checker.check_model shows the whole message",
        ) from error


def _refuse_half(proto: onnx.ModelProto) -> None:
    """Refuse a model that computes in 16-bit floats."""
    half = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
    values = [(v.name, v.type.tensor_type.elem_type) for v in proto.graph.input]
    values += [(t.name, t.data_type) for t in proto.graph.initializer]
    for name, dtype in values:
        if dtype in half:
            raise CompileError(
                f"{onnx.TensorProto.DataType.Name(dtype).lower()} models are not supported",
                where=f"value {name!r}",
                hint="export the model in float32",
            )


def _may_fold(node: ir.Node) -> bool:
    """Whether a node of constants may be computed now.

    Quantized weights stay behind their DequantizeLinear, since the integers are what counts;
    a graph output stays the output of a node.
    """
    quantization = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear")
    return node.op_type not in quantization and not node.outputs[0].is_graph_output()


def _nodes(model: ir.Model) -> Iterator[ir.Node]:
    return iter(ir.traversal.RecursiveGraphIterator(model.graph))


def _name_nodes(model: ir.Model) -> None:
    """Name unnamed nodes for their operator, and number what has another's name."""
    taken = {node.name for node in _nodes(model)}
    seen: set[str] = set()
    for node in _nodes(model):
        name = node.name or ""
        number = 0
        while not name or name in seen:
            name = f"{node.name or node.op_type}_{number}"
            number += 1
            if name in taken:
                name = ""
        node.name = name
        seen.add(name)


def _infer_shapes(model: ir.Model) -> None:
    """Give every value its shape and type; refuse a model that leaves one open."""
    try:
        common.ShapeInferencePass(strict_mode=False)(model)
    except Exception as error:
        raise CompileError(f"its shapes contradict each other: {one_line(error)}") from error
    for node in _nodes(model):
        for value in node.outputs:
            if value.shape is not None and value.shape.is_static() and value.dtype is not None:
                continue
            if not value.uses() and not value.is_graph_output():
                continue
            raise CompileError(
                f"the shape of {value.name!r} is not known before the model runs",
                where=f"node {node.name!r} ({node.op_type})",
                hint=(
                    "cut the model before this node"
                    if node.domain in STANDARD_DOMAINS
                    else f"ONNX does not know {node.domain}; add a value_info to the model"
                ),
            )
