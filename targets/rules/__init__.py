"""How each operator of the integer graph becomes kernel calls; a family of them a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import onnx_ir as ir

from qcompile.errors import UnsupportedOpError
from qcompile.targets.emitter import Emitter
from qcompile.targets.rules import borders, conv, elementwise, moves, pools, softmax

Rule = Callable[[ir.Node, Emitter], None]

RULES: Mapping[str, Rule] = {
    **conv.RULES,
    **elementwise.RULES,
    **pools.RULES,
    **softmax.RULES,
    **moves.RULES,
    **borders.RULES,
}


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
