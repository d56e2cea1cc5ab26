"""Write a Sum as Adds, which convolutions absorb and integers have."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir

from qcompile.graphs.building import Builder
from qcompile.graphs.rewriting import Names


@dataclasses.dataclass(frozen=True)
class SumToAdd(ir.passes.InPlacePass):
    """Replace `Sum(a, b, c)` by `Add(Add(a, b), c)`.

    Kept: a Sum of one, which is an identity and `remove_identities` takes it.

    Example:
        before:
            g (float[2] a, float[2] b, float[2] c) => (float[2] y) { y = Sum (a, b, c) }
        after:
            g (float[2] a, float[2] b, float[2] c) => (float[2] y)
            { s = Add (a, b)  y = Add (s, c) }
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Return the model and whether any Sum was replaced."""
        names = Names(model)
        modified = False
        for node in ir.traversal.RecursiveGraphIterator(model.graph):
            if node.op_type != "Sum" or node.domain not in ("", "ai.onnx"):
                continue
            first, *others = node.inputs
            if first is None or not others or any(each is None for each in others):
                continue
            build, total = Builder(names, node), first
            for each in others:
                total = build.op("Add", [total, each], shape=_together(total, each))
            build.replace(total)
            modified = True
        return ir.passes.PassResult(model, modified)


def _together(a: ir.Value, b: ir.Value | None) -> tuple[int, ...] | None:
    """Return the shape of a sum by NumPy's rule; None where a shape is open."""
    shapes = [value.shape for value in (a, b) if value is not None]
    if any(shape is None or not shape.is_static() for shape in shapes):
        return None
    return np.broadcast_shapes(
        *(tuple(shape.numpy()) for shape in shapes if shape is not None)
    )
