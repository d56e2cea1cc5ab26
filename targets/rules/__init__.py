"""How each operator of the integer graph becomes kernel calls; a family of them a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import onnx_ir as ir

from qcompile import ops
from qcompile.errors import UnsupportedOpError
from qcompile.graphs.qdq import node_grid, real_constant
from qcompile.graphs.reduced_axes import constant_axes
from qcompile.regions import data_inputs
from qcompile.targets.emitter import Emitter
from qcompile.targets.rules import (
    borders,
    choices,
    conv,
    elementwise,
    float_products,
    float_rows,
    floats,
    moves,
    pools,
    products,
    reductions,
    resize,
    softmax,
)

Rule = Callable[[ir.Node, Emitter], None]

RULES: Mapping[str, Rule] = {
    **conv.RULES,
    **elementwise.RULES,
    **pools.RULES,
    **reductions.RULES,
    **resize.RULES,
    **softmax.RULES,
    **moves.RULES,
    **choices.RULES,
    **borders.RULES,
    **products.RULES,
    **floats.RULES,
    **float_rows.RULES,
    **float_products.RULES,
}


EIGHT_BITS = (ir.DataType.UINT8, ir.DataType.INT8)


def has_rule(node: ir.Node) -> bool:
    """Whether a node has a kernel of ours; every other one belongs to a float island.

    These are the operators of our domain, per-tensor Q and DQ with 8 bits, what moves
    8-bit integers, and the float operators of `floats`.
    """
    if node.domain == ops.DOMAIN or node.op_type == "DynamicQuantizeLinear":
        return True
    if node.op_type in borders.RULES:
        return node_grid(node) is not None or real_constant(node.outputs[0]) is not None
    if floats.runs(node):
        return True
    operands = (*data_inputs(node), node.outputs[0])
    eight = all(value.dtype in EIGHT_BITS for value in operands)
    if node.op_type in reductions.RULES and constant_axes(node) is None:
        return False
    if node.op_type in choices.RULES and not choices.runs(node):
        return False
    return eight and node.op_type in RULES


def emit_node(node: ir.Node, emit: Emitter) -> None:
    """Emit the kernels of one integer node.

    Raises:
        UnsupportedOpError: There is no rule for the operator.
    """
    rule = RULES.get(node.op_type)
    if rule is None:
        raise UnsupportedOpError(
            f"no kernel computes {node.op_type} in integers",
            where=f"node {node.name!r}",
            hint=f"kernels: {', '.join(sorted(RULES))}",
        )
    rule(node, emit)
