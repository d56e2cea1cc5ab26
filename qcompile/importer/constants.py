"""Compute at import what depends on constants only, shape arithmetic included."""

from __future__ import annotations

import numpy as np
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


SIZED = {"ConstantOfShape": 1, "Range": 3, "Expand": 2, "Tile": 2, "Pad": 2, "OneHot": 2}
"""Operators whose inputs are sizes, and how many inputs say them."""


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
    made = elements_made(node)
    if made > FOLD_LIMIT:
        raise ValueError(f"{node.op_type} makes {made:.3g} numbers of it")
    return not node.outputs[0].is_graph_output()


def elements_made(node: ir.Node) -> float:
    """Return how many elements a node of constants makes whose sizes are numbers it reads.

    At least so many; 0 for other operators, which make no more than they are given.
    """
    arrays = [constant(value) for value in node.inputs]
    known = [array.astype(np.float64) for array in arrays if array is not None]
    if len(known) < SIZED.get(node.op_type, len(known) + 1):
        return 0.0
    if node.op_type == "ConstantOfShape":
        return float(np.prod(known[0]))
    if node.op_type == "Range":
        start, limit, step = (float(array.flat[0]) for array in known[:3])
        return (limit - start) / step if step else 0.0
    factor = float(np.abs(known[1]).sum() if node.op_type == "Pad" else np.prod(known[1]))
    return factor * (1 if node.op_type == "Expand" else known[0].size)


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
