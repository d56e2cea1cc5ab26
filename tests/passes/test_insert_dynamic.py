"""Float products take the standard form of dynamic quantization, and stay near."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from qcompile.config import CompileConfig
from qcompile.ops import FLOAT_REASON
from qcompile.passes.insert_dynamic import InsertDynamic
from tests.graphs import assert_graph, graph

W = "float[2,2] w = {63.5, 4.0, -12.0, -254.0}"
Q = "int8[2,2] w = {127, 2, -24, -127}, float[2] s_w = {0.5, 2.0}"
RANGE = "q, s, z = DynamicQuantizeLinear(x)"
PRODUCT = "m = MatMulInteger(q, w, z)  c = Cast <to = 1> (m)  p = Mul(s, s_w)"
X = "g (float[1,2] x) => (float[1,2] y)"

CHANGES = {
    "MatMul": (
        f"{X} <{W}> {{ y = MatMul(x, w) }}",
        f"{X} <{Q}> {{ {RANGE}  {PRODUCT}  y = Mul(c, p) }}",
    ),
    "Gemm with everything": (
        """g (float[1,2] x, float[1,2] b) => (float[1,2] y)
        <float[2,2] w = {31.75, -6.0, 2.0, -127.0}>
        { y = Gemm <transB = 1, alpha = 2.0> (x, w, b) }""",
        f"""g (float[1,2] x, float[1,2] b) => (float[1,2] y) <{Q}>
        {{ {RANGE}  {PRODUCT}  t = Mul(c, p)  y = Add(t, b) }}""",
    ),
    "Gemm with beta": (
        f"""{X} <{W}, float[2] b = {{1.0, -2.0}}>
        {{ y = Gemm <beta = 0.5> (x, w, b) }}""",
        f"""{X} <{Q}, float[2] b = {{0.5, -1.0}}>
        {{ {RANGE}  {PRODUCT}  t = Mul(c, p)  y = Add(t, b) }}""",
    ),
    "one range for all readers": (
        f"""g (float[1,2] x) => (float[1,2] y, float[1,2] v)
        <{W}, float[2,2] w2 = {{63.5, 4.0, -12.0, -254.0}}>
        {{ y = MatMul(x, w)  r = Relu(x)  e = MatMul(x, w2)  v = Add(e, r) }}""",
        f"""g (float[1,2] x) => (float[1,2] y, float[1,2] v)
        <{Q}, int8[2,2] w2 = {{127, 2, -24, -127}}, float[2] s2 = {{0.5, 2.0}}>
        {{ {RANGE}  {PRODUCT}  y = Mul(c, p)  r = Relu(x)  m2 = MatMulInteger(q, w2, z)
           c2 = Cast <to = 1> (m2)  p2 = Mul(s, s2)  e = Mul(c2, p2)  v = Add(e, r) }}""",
    ),
    "two activations": (
        "g (float[3,2] x, float[2,4] v) => (float[3,4] y) { y = MatMul(x, v) }",
        f"""g (float[3,2] x, float[2,4] v) => (float[3,4] y)
        {{ {RANGE}  r, t, u = DynamicQuantizeLinear(v)  m = MatMulInteger(q, r, z, u)
           c = Cast <to = 1> (m)  p = Mul(s, t)  y = Mul(c, p) }}""",
    ),
    "a column of zeros": (
        f"{X} <float[2,2] w = {{0.0, 127.0, 0.0, 127.0}}> {{ y = MatMul(x, w) }}",
        f"""{X} <int8[2,2] w = {{0, 127, 0, 127}}, float[2] s_w = {{1.0, 1.0}}>
        {{ {RANGE}  {PRODUCT}  y = Mul(c, p) }}""",
    ),
}

KEPT = {
    "Conv": (
        """g (float[1,1,2,2] x) => (float[1,1,2,2] y) <float[1,1,1,1] w = {2.0}>
        { y = Conv(x, w) }""",
        "the recipe dynamic-int8 quantizes products of matrices",
    ),
    "transposed on the left": (
        f"""g (float[2,1] x) => (float[1,2] y) <{W}, float[1] b = {{0.0}}>
        {{ y = Gemm <transA = 1> (x, w, b) }}""",
        "its transA is not 0",
    ),
    "a vector": (
        "g (float[3,2] x, float[2] v) => (float[3] y) { y = MatMul(x, v) }",
        "one side is a vector, the kernel multiplies matrices",
    ),
    "weights of rank 3": (
        "g (float[1,1,2] x) => (float[1,1,1] y) <float[1,2,1] w = {1.0, 2.0}>"
        "{ y = MatMul(x, w) }",
        "its weight has rank 3, the kernel takes 2",
    ),
    "a weight without end": (
        f"{X} <float[2,2] w = {{inf, 4.0, -12.0, -254.0}}> {{ y = MatMul(x, w) }}",
        "its weight holds NaN or infinity",
    ),
    "another type": (
        "g (double[1,2] x) => (double[1,2] y) <double[2,2] w = {1.0, 2.0, 3.0, 4.0}>"
        "{ y = MatMul(x, w) }",
        "its left side is no float activation",
    ),
}


@pytest.mark.parametrize(("before", "after"), CHANGES.values(), ids=CHANGES)
def test_inserts(before: str, after: str) -> None:
    result = InsertDynamic()(graph(before))
    assert result.modified
    assert_graph(result.model, after)
    assert not InsertDynamic()(result.model).modified


@pytest.mark.parametrize(("before", "reason"), KEPT.values(), ids=KEPT)
def test_keeps(before: str, reason: str) -> None:
    model = graph(before)
    result = InsertDynamic()(model)
    assert result.modified
    assert_graph(result.model, before)
    assert reason in {node.metadata_props.get(FLOAT_REASON) for node in model.graph}
    assert not InsertDynamic()(result.model).modified


def test_sub_graphs_stay() -> None:
    text = f"""
        g (bool c, float[1,2] x) => (float[1,2] y) <{W}>
        {{ y = If (c) <then_branch = t () => (float[1,2] e) {{ e = MatMul(x, w) }},
                       else_branch = f () => (float[1,2] e2) {{ e2 = Relu(x) }}> }}"""
    assert not InsertDynamic()(graph(text)).modified


def test_the_config_keeps_nodes_in_float() -> None:
    config = CompileConfig(recipe="dynamic-int8", float_ops=("MatMul",))
    before = CHANGES["MatMul"][0]
    result = InsertDynamic(config)(graph(before))
    assert_graph(result.model, before)


def test_the_answer_is_within_the_steps() -> None:
    """Half a step of x and of w each, on every product of the sum."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((5, 40)), rng.standard_normal((40, 7))
    x, w = x.astype(np.float32), w.astype(np.float32)
    model = graph("g (float[5,40] x, float[40,7] w) => (float[5,7] y) { y = MatMul(x, w) }")
    proto = ir.to_proto(model)
    del proto.graph.input[1]
    proto.graph.initializer.append(onnx.numpy_helper.from_array(w, "w"))
    result = InsertDynamic()(ir.from_proto(proto)).model
    session = onnxruntime.InferenceSession(ir.to_proto(result).SerializeToString())
    (y,) = session.run(None, {"x": x})
    steps = (x.max() - x.min()) / 255, np.abs(w).max(axis=0) / 127
    largest = np.abs(x).max() + steps[0]
    bound = 40 * (steps[0] * np.abs(w).max(axis=0) + steps[1] * largest) / 2
    assert (np.abs(y - x @ w) <= bound).all()
