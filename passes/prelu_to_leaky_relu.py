"""Write a PRelu with one slope as LeakyRelu."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir

from qcompile.graphs.building import Builder
from qcompile.graphs.rewriting import Names
from qcompile.regions import constant


@dataclasses.dataclass(frozen=True)
class PReluToLeakyRelu(ir.passes.InPlacePass):
    """Replace `PRelu(x, a)` by `LeakyRelu <alpha = a> (x)` where all slopes are one number.

    Kept: slopes that differ, are computed or an input; integers.

    Example:
        before:
            g (float[1,2,3] x) => (float[1,2,3] y) <float[2,1] a = {0.25, 0.25}>
            { y = PRelu (x, a) }
        after:
            g (float[1,2,3] x) => (float[1,2,3] y) { y = LeakyRelu <alpha = 0.25> (x) }
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Return the model and whether any PRelu was replaced."""
        names = Names(model)
        modified = False
        for node in ir.traversal.RecursiveGraphIterator(model.graph):
            if node.op_type != "PRelu" or node.domain not in ("", "ai.onnx"):
                continue
            slopes = constant(node.inputs[1])
            if slopes is None or slopes.dtype != np.float32 or np.unique(slopes).size != 1:
                continue
            build = Builder(names, node)
            alpha = float(slopes.reshape(-1)[0])
            shape = node.outputs[0].shape
            build.replace(
                build.op("LeakyRelu", [node.inputs[0]], {"alpha": alpha}, shape=shape)
            )
            modified = True
        return ir.passes.PassResult(model, modified)
