"""QDQ graphs as other runtimes take them: the same answers, in onnxruntime without a word."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from qcompile.artifact import graph_bytes
from qcompile.graphs.portable import portable
from tests.graphs import graph

POOL = """g (float[1,4,4,4] x) => (float[1,4,3,3] y) <float s = {{0.5}}, {dtype} z = {{{z}}}>
{{ q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)
   p = AveragePool <kernel_shape = [2,2], dilations = [{dilation},1]> (d)
   r = QuantizeLinear(p, s, z)  y = DequantizeLinear(r, s, z) }}"""

TRANSPOSED = """g (float[1,4,4,2] x) => (float[1,2,4,4] y) <float s = {0.5}, int8 z = {3}>
{ q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)
  t = Transpose <perm = [0,3,1,2]> (d)  r = Relu(t)
  p = QuantizeLinear(r, s, z)  y = DequantizeLinear(p, s, z) }"""


def answers(model: ir.Model, *, optimized: bool) -> npt.NDArray[np.float32]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        graph_bytes(model), options, providers=["CPUExecutionProvider"]
    )
    shape = session.get_inputs()[0].shape
    x = np.random.default_rng(1).normal(0, 8, shape).astype(np.float32)
    result: npt.NDArray[np.float32] = session.run(None, {"x": x})[0]
    return result


@pytest.mark.parametrize(
    "text",
    [
        POOL.format(dtype="uint8", z=128, dilation=1),
        POOL.format(dtype="int8", z=0, dilation=1),
        TRANSPOSED,
    ],
    ids=["average pool", "int8 average pool", "transpose"],
)
def test_onnxruntime_runs_it_optimized(text: str) -> None:
    model = graph(text)
    expected = answers(model, optimized=False)
    # The fused pool averages integers, the plain one floats: one step of 0.5 apart at most.
    assert np.abs(answers(portable(model), optimized=True) - expected).max() <= 0.5


def test_the_model_handed_in_is_not_changed() -> None:
    model = graph(POOL.format(dtype="uint8", z=128, dilation=1))
    before = graph_bytes(model)
    assert portable(model).opset_imports[""] == 20
    assert graph_bytes(model) == before


def test_keeps_real_dilations() -> None:
    text = POOL.format(dtype="uint8", z=128, dilation=2).replace("[1,4,3,3] y", "[1,4,2,3] y")
    kept = portable(graph(text))
    pool = next(node for node in kept.graph if node.op_type == "AveragePool")
    assert list(pool.attributes["dilations"].as_ints()) == [2, 1]


KEPT = {
    "4 bits": """g (float[2] x) => (float[2] y) <float s = {0.5}, int4 z = {0}>
        { q = QuantizeLinear(x, s, z)  y = DequantizeLinear(q, s, z) }""",
    "output_dtype": """g (float[2] x) => (int8[2] y) <float s = {0.5}>
        { y = QuantizeLinear <output_dtype = 3> (x, s) }""",
    "changed meaning": """g (float[1,4,2] x) => (float[1,4,2] y)
        <float[4] s = {1, 1, 1, 1}, float[4] b = {0, 0, 0, 0}>
        { y = GroupNormalization <num_groups = 2> (x, s, b) }""",
}


@pytest.mark.parametrize("text", KEPT.values(), ids=KEPT)
def test_keeps_the_opset_where_it_is_needed(text: str) -> None:
    kept = portable(graph(text))
    assert kept.opset_imports[""] == 21
    onnx.checker.check_model(ir.to_proto(kept))
