"""Graphs before and after FuseMatMulBias, and its arithmetic against float64."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcompile.passes.fuse_matmul_bias import FuseMatMulBias
from tests.graphs import assert_graph, graph

W = "float[2,3] w = {1.0, 2.0, 3.0, 4.0, 5.0, 6.0}"
ROW = "float[3] b = {1.5, 2.5, 3.5}"
PLAIN = f"g (float[4,2] x) => (float[4,3] y) <{W}, {ROW}> {{ y = Gemm (x, w, b) }}"

CHANGES = {
    "bias": (
        f"""g (float[4,2] x) => (float[4,3] y) <{W}, {ROW}>
        {{ a = MatMul (x, w)  y = Add (a, b) }}""",
        PLAIN,
    ),
    "bias first, of rank 2": (
        f"""g (float[4,2] x) => (float[4,3] y) <{W}, float[1,3] b = {{1.5, 2.5, 3.5}}>
        {{ a = MatMul (x, w)  y = Add (b, a) }}""",
        PLAIN,
    ),
    "bias of one number": (
        f"""g (float[4,2] x) => (float[4,3] y) <{W}, float b = {{1.5}}>
        {{ a = MatMul (x, w)  y = Add (b, a) }}""",
        f"""g (float[4,2] x) => (float[4,3] y) <{W}, float[3] b = {{1.5, 1.5, 1.5}}>
        {{ y = Gemm (x, w, b) }}""",
    ),
    "Gemm without a bias, then Add": (
        f"""g (float[4,2] x) => (float[4,3] y)
        <float[3,2] w = {{1.0, 4.0, 2.0, 5.0, 3.0, 6.0}}, {ROW}>
        {{ a = Gemm <transB: int = 1, beta: float = 3.0> (x, w)  y = Add (a, b) }}""",
        PLAIN,
    ),
    "alpha, beta, transB": (
        """g (float[4,2] x) => (float[4,3] y)
        <float[3,2] w = {0.5, 2.0, 1.0, 2.5, 1.5, 3.0}, float[1,3] b = {3.0, 5.0, 7.0}>
        { y = Gemm <alpha: float = 2.0, beta: float = 0.5, transB: int = 1> (x, w, b) }""",
        PLAIN,
    ),
    "defaults written out": (
        f"""g (float[4,2] x) => (float[4,3] y) <{W}, {ROW}>
        {{ y = Gemm <alpha: float = 1.0, beta: float = 1.0, transA: int = 0> (x, w, b) }}""",
        PLAIN,
    ),
    "beta without a bias": (
        f"""g (float[4,2] x) => (float[4,3] y) <{W}>
        {{ y = Gemm <beta: float = 0.5> (x, w) }}""",
        f"g (float[4,2] x) => (float[4,3] y) <{W}> {{ y = Gemm (x, w) }}",
    ),
    "quantized matrix and bias": (
        """g (float[4,2] x) => (float[4,3] y) <float[2,3] d, float[3] f,
        int8[2,3] w = {1, 2, 3, 4, 5, 6}, float s = {0.5}, int32[3] b = {7, 8, 9}>
        { d = DequantizeLinear (w, s)  a = MatMul (x, d)
          f = DequantizeLinear (b, s)  y = Add (a, f) }""",
        """g (float[4,2] x) => (float[4,3] y)
        <int8[2,3] w = {1, 2, 3, 4, 5, 6}, float s = {0.5}, int32[3] b = {7, 8, 9}>
        { d = DequantizeLinear (w, s)  f = DequantizeLinear (b, s)  y = Gemm (x, d, f) }""",
    ),
    "quantized matrix with transB": (
        """g (float[4,2] x) => (float[4,3] y) <float[3,2] d,
        int8[3,2] w = {1, 4, 2, 5, 3, 6}, float[3] s = {0.5, 0.25, 0.125}>
        { d = DequantizeLinear <axis: int = 0> (w, s)  e = Identity (d)
          y = Gemm <transB: int = 1> (x, d) }""",
        """g (float[4,2] x) => (float[4,3] y) <int8[3,2] w = {1, 4, 2, 5, 3, 6},
        int8[2,3] t = {1, 2, 3, 4, 5, 6}, float[3] s = {0.5, 0.25, 0.125}>
        { c = DequantizeLinear <axis: int = 0> (w, s)  e = Identity (c)
          d = DequantizeLinear <axis: int = 1> (t, s)  y = Gemm (x, d) }""",
    ),
    "quantized matrix with transB, per tensor": (
        """g (float[4,2] x) => (float[4,3] y) <float[3,2] d,
        int8[3,2] w = {1, 4, 2, 5, 3, 6}, float s = {0.5}, int8 z = {0}>
        { d = DequantizeLinear (w, s, z)  y = Gemm <transB: int = 1> (x, d) }""",
        """g (float[4,2] x) => (float[4,3] y)
        <int8[2,3] w = {1, 2, 3, 4, 5, 6}, float s = {0.5}, int8 z = {0}>
        { d = DequantizeLinear <axis: int = 0> (w, s, z)  y = Gemm (x, d) }""",
    ),
    "two products of one matrix": (
        f"""g (float[4,2] x) => (float[4,3] y, float[4,3] z) <{W}, {ROW}>
        {{ a = MatMul (x, w)  y = Add (a, b)  z = MatMul (x, w) }}""",
        f"""g (float[4,2] x) => (float[4,3] y, float[4,3] z) <{W}, {ROW}>
        {{ y = Gemm (x, w, b)  z = MatMul (x, w) }}""",
    ),
    "inside a branch": (
        f"""g (bool c, float[4,2] x) => (float[4,3] y) <{W}, {ROW}>
        {{ y = If (c) <
            then_branch: graph = t () => (float[4,3] p)
              {{ a = MatMul (x, w)  p = Add (a, b) }},
            else_branch: graph = e () => (float[4,3] q) {{ q = MatMul (x, w) }}> }}""",
        f"""g (bool c, float[4,2] x) => (float[4,3] y) <{W}, {ROW}>
        {{ y = If (c) <
            then_branch: graph = t () => (float[4,3] p) {{ p = Gemm (x, w, b) }},
            else_branch: graph = e () => (float[4,3] q) {{ q = MatMul (x, w) }}> }}""",
    ),
}

KEPT = {
    "plain": PLAIN,
    "Add after another operator": f"""g (float[4,3] x) => (float[4,3] y) <{ROW}>
        {{ a = Relu (x)  y = Add (a, b) }}""",
    "Gemm with a bias, then Add": f"""g (float[4,2] x) => (float[4,3] y) <{W}, {ROW}>
        {{ a = Gemm (x, w, b)  y = Add (a, b) }}""",
    "a second user": f"""g (float[4,2] x) => (float[4,3] y, float[4,3] z) <{W}, {ROW}>
        {{ a = MatMul (x, w)  y = Add (a, b)  z = Relu (a) }}""",
    "the product is a graph output": f"""g (float[4,2] x) => (float[4,3] y, float[4,3] a)
        <{W}, {ROW}> {{ a = MatMul (x, w)  y = Add (a, b) }}""",
    "the product stands outside the branch": f"""g (bool c, float[4,2] x) => (float[4,3] y)
        <{W}, {ROW}>
        {{ a = MatMul (x, w)
          y = If (c) <
            then_branch: graph = t () => (float[4,3] p) {{ p = Add (a, b) }},
            else_branch: graph = e () => (float[4,3] q) {{ q = MatMul (x, w) }}> }}""",
    "matrix is also an input": f"""g (float[4,2] x, float[2,3] w) => (float[4,3] y)
        <{W}, {ROW}> {{ a = MatMul (x, w)  y = Add (a, b) }}""",
    "bias is also an input": f"""g (float[4,2] x, float[3] b) => (float[4,3] y) <{W}, {ROW}>
        {{ a = MatMul (x, w)  y = Add (a, b) }}""",
    "bias differs from row to row": f"""g (float[2,2] x) => (float[2,3] y) <{W},
        float[2,3] b = {{1.0, 2.0, 3.0, 4.0, 5.0, 6.0}}>
        {{ a = MatMul (x, w)  y = Add (a, b) }}""",
    "bias of one number a row": f"""g (float[2,2] x) => (float[2,3] y) <{W},
        float[2,1] b = {{1.0, 2.0}}>
        {{ a = MatMul (x, w)  y = Add (a, b) }}""",
    "bias that widens the answer": """g (float[2,2] x) => (float[2,3] y)
        <float[2,1] w = {1.0, 2.0}, float[3] b = {1.5, 2.5, 3.5}>
        { a = MatMul (x, w)  y = Add (a, b) }""",
    "bias of rank 3": f"""g (float[4,2] x) => (float[1,4,3] y) <{W},
        float[1,1,3] b = {{1.0, 2.0, 3.0}}> {{ a = MatMul (x, w)  y = Add (a, b) }}""",
    "rank 3": f"""g (float[5,4,2] x) => (float[5,4,3] y) <{W}, {ROW}>
        {{ a = MatMul (x, w)  y = Add (a, b) }}""",
    "Gemm of two activations": """g (float[4,2] x, float[3,2] w) => (float[4,3] y)
        { y = Gemm <alpha: float = 2.0, transB: int = 1> (x, w) }""",
    "transA": f"""g (float[2,4] x) => (float[4,3] y) <{W}>
        {{ y = Gemm <transA: int = 1> (x, w) }}""",
}


@pytest.mark.parametrize(("before", "after"), CHANGES.values(), ids=CHANGES)
def test_fuses(before: str, after: str) -> None:
    result = FuseMatMulBias()(graph(before))
    assert result.modified
    assert_graph(result.model, after)
    assert not FuseMatMulBias()(result.model).modified


@pytest.mark.parametrize("before", KEPT.values(), ids=KEPT)
def test_keeps(before: str) -> None:
    result = FuseMatMulBias()(graph(before))
    assert not result.modified
    assert_graph(result.model, before)


def test_the_gemm_keeps_the_name_of_the_product() -> None:
    model = graph(CHANGES["bias"][0])
    for node in model.graph:
        node.name = f"my_{node.op_type}"
    FuseMatMulBias()(model)
    assert [node.name for node in model.graph] == ["my_MatMul"]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    depth=st.integers(1, 40),
    alpha=st.sampled_from([1.0, 0.1, -3.0]),
    beta=st.sampled_from([1.0, 0.3, 0.0]),
    transposed=st.booleans(),
)
def test_arithmetic(
    seed: int, depth: int, alpha: float, beta: float, transposed: bool
) -> None:
    """A sum of K terms in any order is off by at most (K + 3) u times its magnitudes.

    u = 2**-24; of the 3 roundings one is alpha's or the folded weight's, one beta's, one the
    bias's addition.
    """
    noise = np.random.default_rng(seed)
    x = noise.normal(size=(4, depth)).astype(np.float32)
    w = noise.normal(size=(3, depth) if transposed else (depth, 3)).astype(np.float32)
    b = noise.normal(size=(1, 3)).astype(np.float32)
    model = graph(
        f"""g (float[4,{depth}] x) => (float[4,3] y)
        <float[{w.shape[0]},{w.shape[1]}] w = {{{_numbers(w)}}},
         float[1,3] b = {{{_numbers(b)}}}>
        {{ y = Gemm <alpha: float = {alpha}, beta: float = {beta},
                     transB: int = {int(transposed)}> (x, w, b) }}"""
    )
    w64 = model.graph.initializers["w"].const_value
    b64 = model.graph.initializers["b"].const_value
    assert w64 is not None
    assert b64 is not None
    matrix = w64.numpy().astype(np.float64)
    matrix = float(np.float32(alpha)) * (matrix.T if transposed else matrix)
    bias = float(np.float32(beta)) * b64.numpy().astype(np.float64)
    exact = x.astype(np.float64) @ matrix + bias
    bound = (depth + 3) * 2.0**-24 * (np.abs(x) @ np.abs(matrix) + np.abs(bias))
    FuseMatMulBias()(model)
    assert not model.graph[0].attributes
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString())
    (y,) = session.run(None, {"x": x})
    assert (np.abs(y - exact) <= bound).all()


def _numbers(array: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> str:
    return ", ".join(f"{number:.9f}" for number in array.reshape(-1))
