"""Write a Gemm that is no plain product with a constant matrix as simpler operators."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir

from qcompile.graphs.building import Builder
from qcompile.graphs.rewriting import Names
from qcompile.regions import is_constant


@dataclasses.dataclass(frozen=True)
class LowerGemm(ir.passes.InPlacePass):
    """Replace `Gemm(A, B, C)` by `alpha * MatMul(A', B') + beta * C` where B is computed.

    A' and B' are Transposes under transA and transB. With a constant B only transA becomes a
    Transpose and a computed C an Add after it; FuseMatMulBias folds the rest into B and C.

    Kept: a Gemm of a constant B and a constant or absent C without transA.

    Example:
        before:
            g (float[3,2] a, float[3,4] b, float[4] c) => (float[2,4] y)
            { y = Gemm <transA = 1, beta = 0.5> (a, b, c) }
        after:
            g (float[3,2] a, float[3,4] b, float[4] c) => (float[2,4] y) <float half = {0.5}>
            { s = Transpose <perm = [1, 0]> (a)  m = MatMul (s, b)  d = Mul (c, half)
              y = Add (m, d) }
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Return the model and whether any Gemm was rewritten."""
        names = Names(model)
        modified = False
        for node in ir.traversal.RecursiveGraphIterator(model.graph):
            if node.op_type != "Gemm" or node.domain not in ("", "ai.onnx"):
                continue
            if len(node.inputs) < 2 or node.inputs[0] is None or node.inputs[1] is None:
                continue
            build = Builder(names, node)
            if not is_constant(node.inputs[1]):
                build.replace(product(build))
                modified = True
                continue
            if node.attributes.get_int("transA", 0):
                node.replace_input_with(0, transposed(build, node.inputs[0], "a"))
                node.attributes.pop("transA")
                modified = True
            c = addend(node)
            if c is not None and not is_constant(c):
                build.replace(summed(build, bare(build), c))
                modified = True
        return ir.passes.PassResult(model, modified)


def addend(node: ir.Node) -> ir.Value | None:
    """Return C, if it is there."""
    return node.inputs[2] if len(node.inputs) > 2 else None


def product(build: Builder) -> ir.Value:
    """Return alpha * A' B' + beta * C, its nodes before the Gemm."""
    node = build.old
    a, b = node.inputs[:2]
    assert a is not None
    assert b is not None
    if node.attributes.get_int("transA", 0):
        a = transposed(build, a, "a")
    if node.attributes.get_int("transB", 0):
        b = transposed(build, b, "b")
    shape = node.outputs[0].shape
    y = build.op("MatMul", [a, b], shape=shape)
    y = scaled(build, y, node.attributes.get_float("alpha", 1.0), "alpha")
    c = addend(node)
    return y if c is None else summed(build, y, c)


def bare(build: Builder) -> ir.Value:
    """Return the Gemm without its C."""
    node = build.old
    y = build.op("Gemm", node.inputs[:2], shape=node.outputs[0].shape)
    gemm = y.producer()
    assert gemm is not None
    gemm.attributes.update(
        {name: each for name, each in node.attributes.items() if name != "beta"}
    )
    return y


def summed(build: Builder, y: ir.Value, c: ir.Value) -> ir.Value:
    """Return y + beta * C."""
    c = scaled(build, c, build.old.attributes.get_float("beta", 1.0), "beta")
    return build.op("Add", [y, c], shape=y.shape)


def scaled(build: Builder, x: ir.Value, factor: float, role: str) -> ir.Value:
    """Return factor * x, x itself for a factor of one."""
    if factor == 1.0:
        return x
    dtype = x.dtype.numpy() if x.dtype is not None else np.float32
    c = build.constant(np.asarray(factor, dtype), role)
    return build.op("Mul", [x, c], shape=x.shape, role=f"{role}_mul")


def transposed(build: Builder, x: ir.Value, role: str) -> ir.Value:
    """Return the transpose of a matrix."""
    shape = None if x.shape is None else ir.Shape([x.shape[1], x.shape[0]])
    return build.op("Transpose", [x], {"perm": [1, 0]}, shape=shape, role=f"{role}_transpose")
