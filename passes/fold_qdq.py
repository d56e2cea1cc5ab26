"""Fold the QDQ graph into the integer graph."""

from __future__ import annotations

import dataclasses

import onnx_ir as ir

from qcompile.config import CompileConfig
from qcompile.folding.folding import Folding, UnfoldableError
from qcompile.folding.rules import RULES
from qcompile.graphs.grids import describe_activations
from qcompile.graphs.qdq import BYTES, accepts, activation, node_grid
from qcompile.graphs.rewriting import Names, remove_unread, take_over, take_over_all
from qcompile.ops import DOMAIN, FLOAT_REASON, QLUT, VERSION
from qcompile.regions import (
    Region,
    constant,
    data_inputs,
    find_regions,
    is_arithmetic,
    is_move,
    role,
)
from qcompile.schemes.placement import QUANTIZATION_OPS
from qcompile.target import Target
from qcompile.unary import requantize_table


@dataclasses.dataclass(frozen=True)
class FoldQdq(ir.passes.InPlacePass):
    """Replace each region between DequantizeLinear and QuantizeLinear by one node of integers.

    Q(op(DQ(x), DQ(w), DQ(b))) = QOp(x, w, b, multiplier)     Q(DQ(x)) = QLut(x)

    A convolution, matrix product, sum or average whose output is also wanted in float gets a
    float output straight from its accumulator, and its QuantizeLinear stays.
    Kept, with the reason in the node's metadata: what the target or the config keeps in
    float, what a rule cannot fold, and sub-graphs, which belong to the node that holds them.
    What lost its last reader is removed, except DequantizeLinear.

    Example:
        before:
            g (uint8[1,2] x) => (uint8[1,2] y)
            <int8[2,2] w = {1, 2, 3, 4}, float s_x = {0.5}, float[2] s_w = {0.25, 0.5},
             float s_y = {0.125}, uint8 z = {128}>
            { a = DequantizeLinear (x, s_x, z)  b = DequantizeLinear <axis = 1> (w, s_w)
              m = MatMul (a, b)  r = Relu (m)  y = QuantizeLinear (r, s_y, z) }
        after:
            g (uint8[1,2] x) => (uint8[1,2] y)
            <int8[2,2] w = {1, 2, 3, 4}, int32[2] bias = {0, 0},
             float[2] multiplier = {1.0, 2.0}>
            { y = qcompile.QMatMul <x_zero_point = 128, lo = 128.0, hi = 255.0,
                                    y_zero_point = 128, y_dtype = 2> (x, w, bias, multiplier) }
    """

    target: Target
    config: CompileConfig = dataclasses.field(default_factory=CompileConfig)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Return the model and whether anything was folded or explained."""
        graph, names = model.graph, Names(model)
        modified = self._fold_regions(graph, names)
        for node in graph:
            modified |= fold_requantize(node, names)
        if any(node.domain == DOMAIN for node in graph):
            graph.opset_imports[DOMAIN] = VERSION
        modified |= describe_activations(graph)
        for node in graph:
            formless = f"{node.op_type} has no integer form"
            between = "it is not between quantized values"
            modified |= self._explain(node, formless if role(node) is None else between)
        return ir.passes.PassResult(model, modified)

    def _fold_regions(self, graph: ir.Graph, names: Names) -> bool:
        """Fold until every region left has a reason; a refused node may free others."""
        refused: dict[ir.Node, str] = {}

        def keep_float(node: ir.Node) -> str | None:
            return refused.get(node) or self._why_float(node)

        modified, again = False, True
        while again:
            again = False
            for region in find_regions(graph, keep_float):
                if moves_integers(region.anchor):
                    continue
                if not region.is_current:  # what it reads was folded: it is cut anew
                    again = True
                    continue
                try:
                    again |= self._fold(region, names)
                    modified = True
                except UnfoldableError as stop:
                    refused[stop.node or region.anchor] = str(stop)
                    again = True
        for node, reason in refused.items():
            modified |= self._explain(node, reason)
        return modified

    def _fold(self, region: Region, names: Names) -> bool:
        """Fold one region; return whether its nodes are still there, for other users."""
        anchor, graph = region.anchor, region.anchor.graph
        found, row = role(anchor), self.target.row(anchor.op_type)
        rule = RULES.get(found) if found is not None else None
        if rule is None or row is None or graph is None:
            raise UnfoldableError("its inputs are not quantized, or differ in scale")
        for value in region.activations:
            source = activation(value)
            if source is not None and not accepts(row, source[1]):
                raise UnfoldableError(f"{self.target.name} takes no {source[1]} here")
        users = quantizers(region)
        y = node_grid(users[0]) if users else None
        if y is not None and not accepts(row, y):
            if not is_arithmetic(anchor):
                raise UnfoldableError(f"{self.target.name} gives no {y} here")
            users, y = [], None
        new = rule(Folding(region, y, names))
        graph.insert_after(region.nodes[-1], new)
        replaced = [user.outputs[0] for user in users] or [region.output]
        take_over_all(replaced, new.outputs[0])
        remove_unread((*users, *reversed(region.nodes)))
        if anchor.graph is None:
            new.name = anchor.name or new.name
        return anchor.graph is not None

    def _why_float(self, node: ir.Node) -> str | None:
        return self.target.why_float(node) or self.config.reason(node)

    def _explain(self, node: ir.Node, reason: str) -> bool:
        """Write why a node stays float into its metadata, where it computes at all."""
        silent = node.op_type in QUANTIZATION_OPS or moves_integers(node)
        known = FLOAT_REASON in node.metadata_props or node.graph is None
        if silent or known or node.domain == DOMAIN:
            return False
        node.metadata_props[FLOAT_REASON] = self._why_float(node) or reason
        return True


def quantizers(region: Region) -> list[ir.Node]:
    """Return the QuantizeLinear nodes that the region's integer output can replace.

    They have one grid. An arithmetic region gives integers only if nobody wants its output in
    float or on a second grid; a table serves its own ones and leaves the rest.
    """
    output, graph = region.output, region.anchor.graph
    users = dict.fromkeys(use.node for use in output.uses())
    grids = {
        user: node_grid(user) if user.op_type == "QuantizeLinear" else None for user in users
    }
    first = next((grid for grid in grids.values() if grid is not None), None)
    same = [user for user in users if grids[user] == first and user.graph is graph]
    leaving = [user for user in same if user.outputs[0].is_graph_output()]
    if first is None:
        return []
    if not is_arithmetic(region.anchor):
        return [user for user in same if user not in leaving[1:]]
    alone = len(same) == len(users) and not output.is_graph_output()
    return same if alone and len(leaving) <= 1 else []


def moves_integers(node: ir.Node) -> bool:
    """Whether a mover stands on integers already."""
    return is_move(node) and all(value.dtype in BYTES for value in data_inputs(node)[:1])


def fold_requantize(node: ir.Node, names: Names) -> bool:
    """Make a table of a QuantizeLinear right behind a DequantizeLinear."""
    y, source = node_grid(node), activation(node.inputs[0] if node.inputs else None)
    if node.op_type != "QuantizeLinear" or y is None or source is None or node.graph is None:
        return False
    x, grid = source
    if constant(x) is not None:
        return False
    answers = requantize_table(*dataclasses.astuple(grid), *dataclasses.astuple(y))
    name = node.name or str(node.outputs[0].name)
    values = [x, names.initializer(node.graph, f"{name}_table", answers)]
    new = names.node(QLUT, values, name=name, like=node.outputs[0], domain=DOMAIN)
    y.describe(new.outputs[0])
    node.graph.insert_after(node, new)
    take_over(node.outputs[0], new.outputs[0])
    node.graph.remove(node, safe=True)
    new.name = node.name or new.name
    return True
