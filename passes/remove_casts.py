"""Remove Casts that undo each other."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir

from qcompile.graphs.building import Builder
from qcompile.graphs.rewriting import Names, remove_unread
from qcompile.regions import constant


@dataclasses.dataclass(frozen=True)
class RemoveCasts(ir.passes.InPlacePass):
    """Replace `Cast_b(Cast_a(x))` by `Cast_b(x)` where a holds every number of x's type.

    So float -> double -> float vanishes. A Cast of a constant becomes a constant.

    Kept: a first Cast that rounds or wraps; a Cast whose type nothing says; a pair whose
    second Cast stands in a branch that the first one leads to.

    Example:
        before:
            g (int32[4] x) => (float[4] y) { a = Cast <to = 11> (x)  y = Cast <to = 1> (a) }
        after:
            g (int32[4] x) => (float[4] y) { y = Cast <to = 1> (x) }
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Return the model and whether any Cast was removed."""
        names = Names(model)
        modified = False
        for node in ir.traversal.RecursiveGraphIterator(model.graph):
            if node.op_type != "Cast" or node.domain not in ("", "ai.onnx"):
                continue
            if cast_constant(node, names):
                modified = True
                continue
            while skip_first(node):
                modified = True
            modified |= drop(node)
        return ir.passes.PassResult(model, modified)


def target_type(node: ir.Node) -> ir.DataType:
    """Return the type that a Cast gives."""
    return ir.DataType(node.attributes["to"].as_int())


def cast_constant(node: ir.Node, names: Names) -> bool:
    """Compute the Cast of a constant, unless it makes floats integers: ONNX leaves it open."""
    x, wanted = node.inputs[0], target_type(node)
    array = constant(x)
    if x is None or array is None or ir.DataType.STRING in (x.dtype, wanted):
        return False
    kinds = array.dtype.kind, np.dtype(wanted.numpy()).kind
    if node.outputs[0].is_graph_output() or (kinds[0] == "f" and kinds[1] in "iu"):
        return False
    build = Builder(names, node)
    value = build.constant(array.astype(wanted.numpy()), "constant")
    node.outputs[0].replace_all_uses_with(value)
    build.graph.remove(node, safe=True)
    return True


def skip_first(node: ir.Node) -> bool:
    """Read what the Cast before reads, where that one loses nothing."""
    middle = node.inputs[0]
    first = middle.producer() if middle is not None else None
    if first is None or first.op_type != "Cast" or first.graph is not node.graph:
        return False
    x = first.inputs[0]
    if x is None or not holds(x.dtype, target_type(first)):
        return False
    node.replace_input_with(0, x)
    remove_unread([first])
    return True


def drop(node: ir.Node) -> bool:
    """Remove a Cast to the type that its input has."""
    x, y = node.inputs[0], node.outputs[0]
    if x is None or x.dtype != target_type(node) or y.is_graph_output():
        return False
    y.replace_all_uses_with(x)
    assert node.graph is not None
    node.graph.remove(node, safe=True)
    return True


def holds(narrow: ir.DataType | None, wide: ir.DataType) -> bool:
    """Whether every number of one type is one of the other."""
    if narrow is None or ir.DataType.STRING in (narrow, wide):
        return False
    if narrow == wide:
        return True
    if narrow == ir.DataType.BFLOAT16:
        return wide in (ir.DataType.FLOAT, ir.DataType.DOUBLE)
    try:
        return np.can_cast(narrow.numpy(), wide.numpy(), casting="safe")
    except TypeError:
        return False
