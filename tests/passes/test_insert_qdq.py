"""The QDQ graph: what is inserted, and that onnxruntime computes it close to the float one."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from qcompile.passes.insert_qdq import InsertQdq
from qcompile.placement import output_axis
from qcompile.quant import QParams
from qcompile.regions import constant
from tests.graphs import graph, outline
from tests.quantization import F32, choose, run, set_constants

SEED = np.random.default_rng(7)


def normal(*shape: int) -> F32:
    return SEED.standard_normal(shape).astype(np.float32)


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
        { a = Conv <pads=[1,1,1,1]> (x, w, b)  p = MaxPool <kernel_shape=[2,2], strides=[1,1]> (a)
          q = AveragePool <kernel_shape=[2,2], strides=[1,1], pads=[0,0,0,0]> (p)
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


def error_bounds(model: ir.Model, values: dict[str, F32]) -> dict[str, float]:
    """Return how far each value of the quantized net may be from the float one.

    Min-max calibration on the same input: nothing saturates by more than the error that came
    in, so a stored value adds half a step; a weight half a step a product, a bias half a step.
    """
    bounds = {str(value.name): half_step(value) for value in model.graph.inputs}
    for node in model.graph:
        data = [v for v in node.inputs if v is not None and constant(v) is None]
        error = max(bounds[str(value.name)] for value in data)
        if node.op_type == "Add":
            error = sum(bounds[str(value.name)] for value in data)
        if node.op_type in ("Conv", "Gemm"):
            error = dot_product_error(
                node, error, float(np.abs(values[str(data[0].name)]).max())
            )
        output = node.outputs[0]
        bounds[str(output.name)] = error + half_step(output)
    return bounds


def half_step(value: ir.Value) -> float:
    qparams = value.meta.get("qparams")
    return 0.0 if qparams is None else float(qparams.scale.max()) / 2


def dot_product_error(node: ir.Node, error: float, largest: float) -> float:
    x, weight = node.inputs[:2]
    assert x is not None
    assert weight is not None
    qparams: QParams = weight.meta["qparams"]
    array = constant(weight)
    assert array is not None
    rows = np.moveaxis(np.abs(array), output_axis(node), 0).reshape(qparams.scale.size, -1)
    per_weight = qparams.scale / 2 * (largest + error)
    bias = x.meta["qparams"].scale * qparams.scale / 2
    return float((rows.sum(1) * error + rows.shape[1] * per_weight + bias).max())


@pytest.mark.parametrize("name", NETS)
def test_onnxruntime_stays_within_the_scales(name: str) -> None:
    model = net(name)
    inner = [str(node.outputs[0].name) for node in model.graph]
    values = {"x": X, **run(model, {"x": X}, *inner)}
    choose(model, {"x": X})
    bound = error_bounds(model, values)["y"]
    result = InsertQdq()(model)
    assert result.modified
    assert not InsertQdq()(model).modified
    error = np.abs(run(model, {"x": X})["y"] - values["y"]).max()
    assert 0 < error <= bound
