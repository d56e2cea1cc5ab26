"""The QDQ graph: what is inserted, and that onnxruntime computes it close to the float one."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from qcompile.passes.insert_qdq import InsertQdq
from qcompile.quant import S8, S8_PER_CHANNEL, U8, QParams
from qcompile.regions import constant
from qcompile.schemes.placement import output_axis
from tests.graphs import assert_graph, graph
from tests.quantization import F32, choose, run, set_constants

RANDOM = np.random.default_rng(7)

HALF = QParams(U8, np.array(0.5, np.float32), np.array(3, np.uint8))
QUARTER = QParams(S8, np.array(0.25, np.float32), np.array(0, np.int8))
COLUMNS = QParams(
    S8_PER_CHANNEL, np.array([0.25, 0.5], np.float32), np.array([0, 0], np.int8), axis=1
)

CHANGES = {
    "a graph input": (
        """g (float[4] x) => (float[4] y) { y = Relu(x) }""",
        {"x": HALF},
        """g (float[4] x) => (float[4] y) <float s = {0.5}, uint8 z = {3}>
        { q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)  y = Relu(d) }""",
    ),
    "two readers": (
        """g (float[4] x) => (float[4] y, float[4] z)
        { a = Abs(x)  y = Relu(a)  z = Neg(a) }""",
        {"a": HALF},
        """g (float[4] x) => (float[4] y, float[4] z) <float s = {0.5}, uint8 o = {3}>
        { a = Abs(x)  q = QuantizeLinear(a, s, o)  d = DequantizeLinear(q, s, o)
          y = Relu(d)  z = Neg(d) }""",
    ),
    "a graph output that is read keeps its name": (
        """g (float[4] x) => (float[4] a, float[4] y) { a = Abs(x)  y = Relu(a) }""",
        {"a": HALF},
        """g (float[4] x) => (float[4] a, float[4] y) <float s = {0.5}, uint8 z = {3}>
        { b = Abs(x)  q = QuantizeLinear(b, s, z)  a = DequantizeLinear(q, s, z)
          y = Relu(a) }""",
    ),
    "a graph input that is an output": (
        """g (float[4] x) => (float[4] x, float[4] y) { y = Relu(x) }""",
        {"x": HALF},
        """g (float[4] x) => (float[4] x, float[4] y) <float s = {0.5}, uint8 z = {3}>
        { q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)  y = Relu(d) }""",
    ),
    "a reader inside a branch": (
        """g (bool c, float[4] x) => (float[4] y)
        { a = Abs(x)
          y = If (c) <then_branch: graph = t () => (float[4] b) { b = Relu(a) },
                      else_branch: graph = e () => (float[4] d) { d = Neg(a) }> }""",
        {"a": HALF},
        """g (bool c, float[4] x) => (float[4] y) <float s = {0.5}, uint8 z = {3}>
        { a = Abs(x)  q = QuantizeLinear(a, s, z)  p = DequantizeLinear(q, s, z)
          y = If (c) <then_branch: graph = t () => (float[4] b) { b = Relu(p) },
                      else_branch: graph = e () => (float[4] d) { d = Neg(p) }> }""",
    ),
    "a constant summand": (
        """g (float[4] x) => (float[4] y) <float[1] k = {1.0}> { y = Add(x, k) }""",
        {"k": QUARTER},
        """g (float[4] x) => (float[4] y)
        <int8[1] k = {4}, float s = {0.25}, int8 z = {0}>
        { d = DequantizeLinear(k, s, z)  y = Add(x, d) }""",
    ),
    "weights and bias": (
        """g (float[1,2] x) => (float[1,2] y)
        <float[2,2] w = {1.0, -1.0, 0.5, 9.5}, float[2] b = {1.0, -2.0}>
        { y = Gemm(x, w, b) }""",
        {"x": HALF, "w": COLUMNS},
        """g (float[1,2] x) => (float[1,2] y)
        <float s = {0.5}, uint8 z = {3}, int8[2,2] w = {4, -2, 2, 19},
         float[2] t = {0.25, 0.5}, int8[2] o = {0, 0}, int32[2] b = {8, -8},
         float[2] u = {0.125, 0.25}>
        { q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)
          c = DequantizeLinear <axis=0> (b, u)  v = DequantizeLinear <axis=1> (w, t, o)
          y = Gemm(d, v, c) }""",
    ),
    "one scale of weights, one number as bias": (
        """g (float[1,2] x) => (float[1,2] y)
        <float[2,2] w = {1.0, -1.0, 0.5, 9.5}, float[1] b = {1.0}>
        { y = Gemm(x, w, b) }""",
        {"x": HALF, "w": QUARTER},
        """g (float[1,2] x) => (float[1,2] y)
        <float s = {0.5}, uint8 z = {3}, int8[2,2] w = {4, -4, 2, 38}, float t = {0.25},
         int8 o = {0}, int32[2] b = {8, 8}, float u = {0.125}>
        { q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)
          c = DequantizeLinear(b, u)  v = DequantizeLinear(w, t, o)
          y = Gemm(d, v, c) }""",
    ),
    "a bias that two nodes read": (
        """g (float[1,2] x, float[1,2] p) => (float[1,2] y, float[1,2] z)
        <float[2,2] w = {1.0, -1.0, 0.5, 9.5}, float[2] b = {1.0, -2.0}>
        { y = Gemm(x, w, b)  z = Gemm(p, w, b) }""",
        {"x": QUARTER, "w": QUARTER},
        """g (float[1,2] x, float[1,2] p) => (float[1,2] y, float[1,2] z)
        <float s = {0.25}, int8 n = {0}, int8[2,2] w = {4, -4, 2, 38}, float t = {0.25},
         int8 o = {0}, int32[2] b = {16, -32}, float[2] f = {1.0, -2.0}, float u = {0.0625}>
        { q = QuantizeLinear(x, s, n)  d = DequantizeLinear(q, s, n)
          c = DequantizeLinear(b, u)  v = DequantizeLinear(w, t, o)
          y = Gemm(d, v, c)  z = Gemm(p, v, f) }""",
    ),
}

INPUTS = {
    "on top of the value's own": (
        """g (float[4] x) => (float[4] y, float[8] z)
        { y = Relu(x)  z = Concat <axis=0> (x, y) }""",
        {"x": HALF},
        """g (float[4] x) => (float[4] y, float[8] z)
        <float s = {0.5}, uint8 z1 = {3}, float t = {0.25}, int8 o = {0}>
        { q = QuantizeLinear(x, s, z1)  d = DequantizeLinear(q, s, z1)  y = Relu(d)
          p = QuantizeLinear(d, t, o)  e = DequantizeLinear(p, t, o)
          z = Concat <axis=0> (e, y) }""",
    ),
    "of a float value": (
        """g (float[4] x) => (float[4] y, float[8] z)
        { y = Relu(x)  z = Concat <axis=0> (x, y) }""",
        {},
        """g (float[4] x) => (float[4] y, float[8] z) <float t = {0.25}, int8 o = {0}>
        { y = Relu(x)  p = QuantizeLinear(x, t, o)  e = DequantizeLinear(p, t, o)
          z = Concat <axis=0> (e, y) }""",
    ),
}


@pytest.mark.parametrize(("before", "schemes", "after"), INPUTS.values(), ids=INPUTS)
def test_inserts_for_one_input(before: str, schemes: dict[str, QParams], after: str) -> None:
    model = graph(before)
    for each in schemes.values():
        model.graph.inputs[0].meta["qparams"] = each
    model.graph[-1].meta["input_qparams"] = {0: QUARTER}
    assert InsertQdq()(model).modified
    assert_graph(model, after)
    assert not InsertQdq()(model).modified


KEPT = {
    "no scheme": """g (float[1,2] x) => (float[1,2] y)
        <float[2,2] w = {1.0, -1.0, 0.5, 9.5}, float[2] b = {1.0, -2.0}>
        { y = Gemm(x, w, b) }""",
    "inside a branch, where nothing has a scheme": """g (bool c, float[4] x) => (float[4] y)
        { y = If (c) <then_branch: graph = t () => (float[4] b) { b = Relu(x) },
                      else_branch: graph = e () => (float[4] d) { d = Neg(x) }> }""",
}


@pytest.mark.parametrize(("before", "schemes", "after"), CHANGES.values(), ids=CHANGES)
def test_inserts(before: str, schemes: dict[str, QParams], after: str) -> None:
    model = graph(before)
    values = [*model.graph.inputs, *model.graph.initializers.values()]
    for value in [*values, *(y for node in model.graph for y in node.outputs)]:
        if value.name in schemes:
            value.meta["qparams"] = schemes[value.name]
    assert InsertQdq()(model).modified
    assert_graph(model, after)
    assert not InsertQdq()(model).modified


@pytest.mark.parametrize("before", KEPT.values(), ids=KEPT)
def test_keeps(before: str) -> None:
    result = InsertQdq()(graph(before))
    assert not result.modified
    assert_graph(result.model, before)


def normal(*shape: int) -> F32:
    return RANDOM.standard_normal(shape).astype(np.float32)


X = normal(2, 3, 8, 8)
W, B, V, C = normal(4, 3, 3, 3), normal(4), normal(4, 4, 3, 3), normal(4)
DENSE, ROW = normal(64, 5), normal(5)

NETS = {
    "conv": """g (float[2,3,8,8] x, float[4,3,3,3] w, float[4] b) => (float[2,4,8,8] y)
        { y = Conv <pads=[1,1,1,1]> (x, w, b) }""",
    "conv relu conv": """g (float[2,3,8,8] x, float[4,3,3,3] w, float[4] b, float[4,4,3,3] v,
        float[4] c) => (float[2,4,4,4] y)
        { a = Conv (x, w, b)  r = Relu(a)  y = Conv (r, v, c) }""",
    "residual": """g (float[2,3,8,8] x, float[4,3,3,3] w, float[4,4,3,3] v, float[4] c)
        => (float[2,4,8,8] y)
        { a = Conv <pads=[1,1,1,1]> (x, w)  r = Relu(a)
          s = Conv <pads=[1,1,1,1]> (r, v, c)  t = Add(s, r)  y = Relu(t) }""",
    "pools and gemm": """g (float[2,3,8,8] x, float[4,3,3,3] w, float[4] b, float[64,5] m,
        float[5] d) => (float[2,5] y)
        { a = Conv <pads=[1,1,1,1]> (x, w, b)
          p = MaxPool <kernel_shape=[2,2], strides=[1,1]> (a)
          q = AveragePool <kernel_shape=[2,2], strides=[1,1], dilations=[1,1]> (p)
          s = MaxPool <kernel_shape=[3,3], strides=[1,1]> (q)
          f = Flatten(s)  y = Gemm(f, m, d) }""",
    "transposed gemm": """g (float[2,3,8,8] x, float[4,3,3,3] w, float[5,144] n)
        => (float[2,5] y)
        { a = Conv (x, w)  f = Flatten(a)  y = Gemm <transB=1> (f, n) }""",
}
CONSTANTS = {
    "w": W,
    "b": B,
    "v": V,
    "c": C,
    "m": DENSE,
    "d": ROW,
    "n": normal(5, 144),
}


def net(name: str) -> ir.Model:
    model = graph(NETS[name])
    wanted = {value.name for value in model.graph.inputs}
    return set_constants(model, {k: v for k, v in CONSTANTS.items() if k in wanted})


def noise(model: ir.Model, values: dict[str, F32]) -> dict[str, float]:
    """Return how far each value of the quantized net is from the float one: the RMS error.

    Min-max calibration on the same input: nothing saturates, so every rounding is an error of
    variance step**2 / 12, independent of the others; a dot product adds up the variances of
    its activations, its weights and its bias. The worst output channel counts.
    """
    result = {str(value.name): step(value) / 12**0.5 for value in model.graph.inputs}
    for node in model.graph:
        data = [v for v in node.inputs if v is not None and constant(v) is None]
        errors = [result[str(value.name)] for value in data]
        error = float(np.linalg.norm(errors))
        if node.op_type in ("Conv", "Gemm"):
            error = dot_product_noise(node, error, values[str(data[0].name)])
        output = node.outputs[0]
        result[str(output.name)] = float(np.hypot(error, step(output) / 12**0.5))
    return result


def step(value: ir.Value) -> float:
    qparams = value.meta.get("qparams")
    return 0.0 if qparams is None else float(qparams.scale.max())


def dot_product_noise(node: ir.Node, error: float, x: F32) -> float:
    data, weight = node.inputs[:2]
    array = constant(weight)
    assert data is not None
    assert weight is not None
    assert array is not None
    scale = weight.meta["qparams"].scale
    rows = np.moveaxis(array, output_axis(node), 0).reshape(scale.size, -1)
    from_x = np.sum(rows.astype(np.float64) ** 2, axis=1) * error**2
    from_weight = rows.shape[1] * np.mean(x**2) * scale**2 / 12
    from_bias = (data.meta["qparams"].scale * scale) ** 2 / 12
    return float(np.sqrt(from_x + from_weight + from_bias).max())


@pytest.mark.parametrize("name", NETS)
def test_onnxruntime_is_as_noisy_as_the_scales_say(name: str) -> None:
    model = net(name)
    inner = [str(node.outputs[0].name) for node in model.graph]
    values = {"x": X, **run(model, {"x": X}, *inner)}
    choose(model, {"x": X})
    expected = noise(model, values)["y"]
    result = InsertQdq()(model)
    assert result.modified
    assert not InsertQdq()(model).modified
    error = run(model, {"x": X})["y"] - values["y"]
    rms = float(np.sqrt(np.mean(error**2)))
    # More: errors that share a rounding add up. Less: `expected` is the worst channel's, and
    # Relu, pools and padded borders lose noise.
    assert expected / 4 <= rms <= 1.5 * expected
