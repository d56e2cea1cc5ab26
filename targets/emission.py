"""From an integer graph to the program of its kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import onnx_ir as ir
from tvm.tirx import PrimFunc

from qcompile.errors import CompileError
from qcompile.targets.emitter import Emitter
from qcompile.targets.islands import Island, cluster, refuse_control_flow
from qcompile.targets.rules import emit_node, has_rule
from qcompile.targets.rules.float_products import emit_product, product_groups
from qcompile.targets.rules.float_rows import emit_rows, row_groups

Step = Callable[[], None]
"""Emits one node or island."""


def emitted(graph: ir.Graph, emitter: Emitter, outputs: Sequence[ir.Value]) -> Any:
    """Return the IRModule of a graph: integer nodes by rule, float ones as islands."""
    refuse_control_flow(graph)
    kept = frozenset(outputs)
    steps: list[Step] = []
    imports: dict[bytes, Any] = {}  # islands that differ in names alone are one
    groups = row_groups(graph, emitter, kept)
    absorbed = {node for group in groups.values() for node in group.absorbed}
    products = product_groups(graph, kept, absorbed)
    absorbed.update(node for group in products.values() for node in group.nodes[:-1])
    for run in cluster(graph, lambda node: not has_rule(node)):
        if run[0] in absorbed:
            continue
        if run[0] in groups:
            steps.append(partial(emit_rows, groups[run[0]], emitter))
            continue
        if run[0] in products:
            steps.append(partial(emit_product, products[run[0]], emitter))
            continue
        if has_rule(run[0]):
            steps.append(partial(emit_node, run[0], emitter))
            continue
        island = Island.around(run, kept)
        if island.outputs:  # imported here, so that a refusal comes before anything is built
            text = island.to_onnx().SerializeToString(deterministic=True)
            if text not in imports:
                imports[text] = island.to_relax(emitter.isa.tvm_target)
            steps.append(partial(emitter.island, island, imports[text]))
    module = emitter.module(outputs, steps)
    if not any(isinstance(function, PrimFunc) for function in module.functions.values()):
        raise CompileError(
            "it computes nothing: its outputs are its inputs",
            where="model",
            hint="there is nothing to compile",
        )
    return module
