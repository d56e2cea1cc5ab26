"""Compute at import what depends on constants only, shape arithmetic included."""

from __future__ import annotations

import onnx
import onnx.reference
import onnx_ir as ir
from onnxscript.optimizer import fold_constants as fold_single_outputs

from qcompile.errors import CompileError
from qcompile.importer.opset import OPSET, one_line
from qcompile.regions import constant

FOLD_LIMIT = 1 << 27
"""Elements by which folding one node may make the model grow: 512 MB of float32."""

QUANTIZATION_OPS = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})


def fold_constants(model: ir.Model) -> None:
    """Replace nodes whose inputs are all constant by initializers, in place.

    Kept: QuantizeLinear and DequantizeLinear, since their integers are what counts; nodes
    that give a graph output.

    Raises:
        CompileError: The constants do not fit together.
    """
    again = True
    while again:
        try:
            fold_single_outputs(
                model,
                onnx_shape_inference=True,
                output_size_limit=FOLD_LIMIT,
                should_fold=_may_fold,
            )
        except Exception as error:
            raise CompileError(
                f"a constant cannot be computed: {one_line(error.__cause__ or error)}",
                hint="export the model again; onnxruntime may say more of it",
            ) from error
        nodes = list(ir.traversal.RecursiveGraphIterator(model.graph))
        again = sum(_fold_split(node) for node in nodes) > 0


def _may_fold(node: ir.Node) -> bool:
    if node.op_type in QUANTIZATION_OPS or len(node.outputs) != 1:
        return False
    return not node.outputs[0].is_graph_output()


def _fold_split(node: ir.Node) -> bool:
    """Compute a Split of a constant: the folder above takes single outputs."""
    arrays = {str(value.name): constant(value) for value in node.inputs if value is not None}
    if node.op_type != "Split" or node.domain or node.graph is None:
        return False
    if any(array is None for array in arrays.values()):
        return False
    if any(output.is_graph_output() for output in node.outputs):
        return False
    split = onnx.reference.ReferenceEvaluator(ir.to_proto(node), opsets={"": OPSET})
    for output, array in zip(node.outputs, split.run(None, arrays), strict=True):
        tensor = ir.tensor(array, name=output.name)
        part = ir.Value(
            name=output.name,
            shape=ir.Shape(array.shape),
            type=ir.TensorType(tensor.dtype),
            const_value=tensor,
        )
        output.name = None
        output.replace_all_uses_with(part)
        node.graph.register_initializer(part)
    node.graph.remove(node, safe=True)
    return True
