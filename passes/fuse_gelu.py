"""Find Gelu in what exporters wrote out with Erf or Tanh."""

from __future__ import annotations

import dataclasses
import math

import onnx_ir as ir

from qcompile.graphs.building import Builder
from qcompile.graphs.formulas import (
    close,
    enclosed,
    peel,
    polynomial,
    product,
    readers_first,
)
from qcompile.graphs.rewriting import Names

ROOT_HALF = math.sqrt(0.5)
ROOT_2_PI = math.sqrt(2 / math.pi)


@dataclasses.dataclass(frozen=True)
class FuseGelu(ir.passes.InPlacePass):
    """Replace `0.5 * x * (1 + Erf(x / sqrt(2)))` by `Gelu(x)`, in every order.

    0.5 * x * (1 + Tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))) = Gelu(x, approximate = "tanh")

    with the powers written as Pow or as products.

    Kept: what has an inner value that something else reads or that is a graph output.

    Example:
        before:
            g (float[8] x) => (float[8] y)
            <float root = {1.4142135}, float one = {1.0}, float half = {0.5}>
            { d = Div (x, root)  e = Erf (d)  a = Add (e, one)  m = Mul (x, a)
              y = Mul (m, half) }
        after:
            g (float[8] x) => (float[8] y) { y = Gelu (x) }
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Return the model and whether anything was replaced."""
        names = Names(model)
        modified = False
        for node in ir.traversal.RecursiveGraphIterator(model.graph):
            found = find_gelu(node) if node.graph is not None else None
            if found is None or not enclosed(node, found.nodes):
                continue
            build = Builder(names, node)
            attributes = {"approximate": "tanh"} if found.approximate else {}
            y = build.op("Gelu", [found.x], attributes, shape=node.outputs[0].shape)
            build.replace(y, others=readers_first({*found.nodes} - {node}))
            modified = True
        return ir.passes.PassResult(model, modified)


@dataclasses.dataclass(frozen=True)
class Found:
    """A Gelu of x, computed by the nodes."""

    x: ir.Value
    approximate: bool
    nodes: tuple[ir.Node, ...]


def find_gelu(node: ir.Node) -> Found | None:
    """Return the Gelu that ends at this node."""
    whole = product(node)
    if whole is None or len(whole.factors) != 2:
        return None
    for x, gated in (whole.factors, whole.factors[::-1]):
        gate = peel(gated, "Erf", "Tanh")
        if gate is None:
            continue
        k = whole.coefficient
        function = gate.core.producer()
        if function is None or not (
            close(k * gate.factor, 0.5) and close(k * gate.offset, 0.5)
        ):
            continue
        inner = polynomial(function.inputs[0], x)
        tanh = function.op_type == "Tanh"
        shape = (0.0, ROOT_2_PI, 0.0, 0.044715 * ROOT_2_PI) if tanh else (0.0, ROOT_HALF)
        if inner is None or not inner.is_(*shape):
            continue
        return Found(x, tanh, (*whole.nodes, *gate.nodes, function, *inner.nodes))
    return None
