"""Import an ONNX model: one opset, no functions, fixed shapes, constants folded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
import onnx.shape_inference
import onnx_ir as ir
from onnx_ir.passes import common

from qcompile.errors import CompileError
from qcompile.importer.axes import refuse_axis
from qcompile.importer.constants import fold_constants
from qcompile.importer.declared_sizes import refuse_huge, refuse_huge_sizes
from qcompile.importer.group_norm import lower_group_norms
from qcompile.importer.input_shapes import STANDARD_DOMAINS, Shapes, fix_input_shapes
from qcompile.importer.model_file import EXPORT_AGAIN, Source, read_model
from qcompile.importer.opset import convert_opset, inline_functions, one_line
from qcompile.importer.quantized_forms import expand_quantized_forms
from qcompile.importer.weight_only import dequantize_weights

REFUSED_TYPES = (ir.DataType.STRING, ir.DataType.COMPLEX64, ir.DataType.COMPLEX128)


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
        return _import(read_model(source), shapes or {})
    except CompileError as error:
        if not isinstance(source, Path | str) or error.where == "--shape":
            raise
        where = f"{source}: {error.where}" if error.where else str(source)
        raise CompileError(error.problem, where=where, hint=error.hint) from error


def _import(proto: onnx.ModelProto, shapes: Shapes) -> ir.Model:
    proto = inline_functions(proto)
    fix_input_shapes(proto, shapes)
    refuse_huge_sizes(proto)
    try:
        model = ir.from_proto(convert_opset(proto))
        _gather_constants(model)
        expand_quantized_forms(model)
        fold_constants(model)
        if dequantize_weights(model):
            fold_constants(model)
        while lower_group_norms(model):  # the shape behind one shows that of the next
            fold_constants(model)
        _gather_constants(model)
        _refuse_odd_outputs(model.graph)
        common.RemoveUnusedNodesPass()(model)
        _name_nodes(model)
        return _infer_shapes(model)
    except ir.serde.SerdeError as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise CompileError(
            f"not a valid ONNX model: {one_line(cause)}", hint=EXPORT_AGAIN
        ) from error


def _gather_constants(model: ir.Model) -> None:
    """Make every constant an initializer of the main graph, and no input of it."""
    _name_nodes(model)
    for step in (
        common.RemoveInitializersFromInputsPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.LiftSubgraphInitializersToMainGraphPass(),
        common.NameFixPass(),
    ):
        step(model)


def _nodes(model: ir.Model) -> Iterator[ir.Node]:
    return iter(ir.traversal.RecursiveGraphIterator(model.graph))


def _name_nodes(model: ir.Model) -> None:
    """Name unnamed nodes for their operator, and number those that have another's name."""
    taken = {node.name for node in _nodes(model)}
    seen: set[str] = set()
    for node in _nodes(model):
        if not node.name or node.name in seen:
            stem = node.name or node.op_type
            number = 0
            while f"{stem}_{number}" in taken:
                number += 1
            node.name = f"{stem}_{number}"
            taken.add(node.name)
        seen.add(node.name)


def _infer_shapes(model: ir.Model) -> ir.Model:
    """Return the model with the shape and type of every value.

    Raises:
        CompileError: Shapes contradict each other, or one is known only at run time.
    """
    try:
        proto = onnx.shape_inference.infer_shapes(
            ir.to_proto(model), check_type=True, strict_mode=True, data_prop=True
        )
    except (onnx.shape_inference.InferenceError, ValueError) as error:
        raise CompileError(
            f"its shapes contradict each other: {one_line(error)}",
            hint="export the pool with ceil_mode=0, or with explicit pads"
            if "Pool" in str(error)  # opsets from 22 on count the windows of ceil_mode anew
            else "where a Reshape fixes the batch, only that batch fits: --shape",
        ) from error
    model = ir.from_proto(proto)
    for value in model.graph.inputs:
        _refuse_type(value, f"input {value.name!r}")
    for node in _nodes(model):
        refuse_axis(node)
        for value in node.outputs:
            _refuse_shape(node, value)
            refuse_huge(str(value.name), value.shape, f"node {node.name!r} ({node.op_type})")
            _refuse_type(value, f"node {node.name!r} ({node.op_type})")
    return model


def _refuse_odd_outputs(graph: ir.Graph) -> None:
    """Refuse outputs that cannot both keep their names and be told apart."""
    seen: set[ir.Value] = set()
    for value in graph.outputs:
        if value.is_graph_input():
            raise CompileError(
                "it is an input handed on, which nothing computes",
                where=f"output {value.name!r}",
                hint="remove the output from the model",
            )
        if value in seen:
            raise CompileError(
                "it is listed twice", where=f"output {value.name!r}", hint="list it once"
            )
        seen.add(value)


def _refuse_type(value: ir.Value, where: str) -> None:
    """Refuse a tensor of texts or of complex numbers, and what is no tensor at all."""
    if value.dtype in REFUSED_TYPES or not isinstance(value.type, ir.TensorType | None):
        what = value.dtype.name.lower() if value.dtype is not None else "a sequence"
        raise CompileError(
            f"{value.name!r} is {what}, and only tensors of numbers can be compiled",
            where=where,
            hint="cut the model so that this part stays outside",
        )


def _refuse_shape(node: ir.Node, value: ir.Value) -> None:
    """Refuse a value that holds nothing or is not fixed in shape and type, if it is read."""
    if not value.uses() and not value.is_graph_output():
        return
    if value.shape is not None and value.shape.is_static() and value.dtype is not None:
        if any(int(size) < 1 for size in value.shape.numpy()):
            raise CompileError(
                f"{value.name!r} holds no numbers: its shape is {list(value.shape.dims)}",
                where=f"node {node.name!r} ({node.op_type})",
                hint="remove the node from the model, or give its input another size: --shape",
            )
        return
    known = node.domain in STANDARD_DOMAINS
    raise CompileError(
        f"the size of {value.name!r} is known only when the model runs",
        where=f"node {node.name!r} ({node.op_type})",
        hint="cut the model before this node"
        if known
        else f"ONNX does not know the domain {node.domain!r}: add a value_info for the output",
    )
