"""Networks of sums, products, tables and reductions are integers from border to border."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from qcompile.compiler import integer_passes, quantize_model
from qcompile.config import CompileConfig
from qcompile.importer.load_model import load_model
from qcompile.ops import DOMAIN, FLOAT_REASON
from qcompile.pipeline import run_passes
from qcompile.regions import MOVE_OPS
from qcompile.targets import TARGETS
from tests.graphs import graph
from tests.nets import NETS, net, samples
from tests.nets.elementwise import NETS as FAMILY
from tests.quantization import typed

TARGET = TARGETS["x86-vnni"]
STATIC = CompileConfig(recipe="static-int8")
WITH_ISLANDS = {"choices": ["Greater"]}
"""Networks with a node that has no integer form."""


def integer_graph(model: ir.Model) -> ir.Model:
    quantized = quantize_model(model, TARGET, calibration=samples(model, 2), config=STATIC)
    return run_passes(load_model(quantized, None), integer_passes(TARGET, STATIC))


@pytest.mark.parametrize("name", FAMILY)
def test_nothing_is_float_but_the_borders(name: str) -> None:
    nodes = list(integer_graph(net(NETS[name])).graph)
    assert nodes[0].op_type == "QuantizeLinear"
    floats = [
        node.op_type
        for node in nodes[1:]
        if node.domain != DOMAIN and node.op_type not in MOVE_OPS
    ]
    assert floats == WITH_ISLANDS.get(name, [])


def test_a_squeeze_and_excite() -> None:
    steps = [node.op_type for node in integer_graph(net(NETS["squeeze and excite"])).graph]
    assert steps == [
        "QuantizeLinear",
        "QConv",
        "QLut",
        "QAveragePool",
        "QConv",
        "QConv",
        "QLut",
        "QMul",
        "QConv",
    ]


FLOATS = {
    "a quotient of two activations": ("n = Div(a, c)", "Div", "only where the other is one"),
    "a power of two activations": ("n = Pow(a, c)", "Pow", "only where the other is one"),
    "the larger of two": ("n = Max(a, c)", "Max", "only where the other is one"),
    "a mask": ("p = Greater(a, zero)  n = Where(p, a, mask)", "Where", "constant beyond 1000"),
    "axes that are computed": (
        "s = Shape(a)  i = Slice(s, from, to)  k = Sub(i, i)  n = ReduceMean(a, k)",
        "ReduceMean",
        "input 1 is not a constant",
    ),
}


@pytest.mark.parametrize(("body", "op_type", "reason"), FLOATS.values(), ids=FLOATS)
def test_float_with_a_reason(body: str, op_type: str, reason: str) -> None:
    model = typed(
        graph(f"""g (float[2,3] x, float[2,3] c) => (float[2,3] n)
        <float zero = {{0}}, float mask = {{-10000}}, int64[1] from = {{0}},
         int64[1] to = {{1}}>
        {{ a = Neg(x)  {body} }}""")
    )
    node = next(node for node in model.graph if node.op_type == op_type)
    assert reason in (TARGET.why_float(node) or "")


@pytest.mark.parametrize("size", [10, 9_000_000])
def test_sums_beyond_int32_stay_float(size: int) -> None:
    model = typed(
        graph(f"""g (uint8[1,{size}] x) => (float[1] y)
        <float s = {{0.5}}, uint8 z = {{3}}, int64[1] axes = {{1}}>
        {{ d = DequantizeLinear(x, s, z)  y = ReduceMean <keepdims = 0> (d, axes) }}""")
    )
    folded = run_passes(model, integer_passes(TARGET, STATIC))
    node = folded.graph.outputs[0].producer()
    assert node is not None
    fits = size * 255 < 2**31
    assert node.op_type == ("QReduceSum" if fits else "ReduceMean")
    assert fits or "9000000 numbers do not fit int32" in node.metadata_props[FLOAT_REASON]


def test_a_constant_vector_is_a_factor_of_8_bits() -> None:
    folded = integer_graph(net(NETS["differences, products and constants"]))
    products = [node for node in folded.graph if node.op_type == "QMul"]
    constants = [value.const_value for node in products for value in node.inputs[:2] if value]
    (factor,) = [tensor.numpy() for tensor in constants if tensor is not None]
    assert factor.dtype == np.uint8
    assert factor.shape == (20,)
