"""A declared size is refused before memory is taken for it."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest

from qcompile.errors import CompileError
from qcompile.importer.load_model import load_model
from tests.graphs import HEADER

HUGE = {
    "an input": "g (float[1000000,1000000] x) => (float[1000000,1000000] y) { y = Neg(x) }",
    "ConstantOfShape": """g (float[4] x) => (float[N] y) <int64[1] n = {1099511627776}>
        { c = ConstantOfShape(n)  y = Concat <axis = 0> (c, x) }""",
    "ConstantOfShape of a computed size": """g (float[4] x) => (float[N] y)
        <int64[1] n = {1099511627776}, int64[1] two = {2}>
        { m = Mul(n, two)  c = ConstantOfShape(m)  y = Concat <axis = 0> (c, x) }""",
    "Expand": """g (float[4] x) => (float[A,B] y) <int64[2] n = {1000000000000, 4}>
        { y = Expand(x, n) }""",
    "Tile of a constant": """g (float[4] x) => (float[N] y)
        <int64[1] n = {1000000000000}, float[2] c = {1, 2}>
        { t = Tile(c, n)  y = Concat <axis = 0> (t, x) }""",
    "Range": """g (float[4] x) => (float[N] y)
        <int64 zero = {0}, int64 end = {1000000000000}, int64 one = {1}>
        { r = Range(zero, end, one)  f = Cast <to = 1> (r)  y = Concat <axis = 0> (f, x) }""",
    "Resize": """g (float[1,1,4,4] x) => (float[A,B,C,D] y)
        <int64[4] n = {1, 1, 1000000, 1000000}>
        { y = Resize <mode = "nearest"> (x, , , n) }""",
    "Pad": """g (float[4] x) => (float[N] y) <int64[2] n = {0, 1000000000000}>
        { y = Pad(x, n) }""",
}


def model(text: str) -> onnx.ModelProto:
    return ir.to_proto(ir.from_onnx_text(HEADER + text))


@pytest.mark.parametrize("text", HUGE.values(), ids=HUGE)
def test_refused(text: str) -> None:
    with pytest.raises(CompileError, match=r"elements|numbers") as caught:
        load_model(model(text))
    assert caught.value.hint


def test_a_constant_that_declares_more_than_it_holds() -> None:
    proto = model(
        "g (float[4] x) => (float[4] y) <float[4] w = {1, 2, 3, 4}> { y = Add(x, w) }"
    )
    (tensor,) = proto.graph.initializer
    tensor.dims[:] = [1 << 40]
    with pytest.raises(CompileError, match="not a valid ONNX model"):
        load_model(proto)


AXES = {
    "of a Concat": """g (float[4] x) => (float[8] y)
        { y = Concat <axis = 1099511627776> (x, x) }""",
    "of a scale": """g (float[2,2] x) => (float[2,2] y)
        <int8[2,2] w = {1, 2, 3, 4}, float[2] s = {1, 2}>
        { d = DequantizeLinear <axis = 1099511627776> (w, s)  y = MatMul(x, d) }""",
}


@pytest.mark.parametrize("text", AXES.values(), ids=AXES)
def test_an_axis_that_a_tensor_has_not(text: str) -> None:
    with pytest.raises(CompileError, match=r"axis|contradict"):
        load_model(model(text))


def test_the_axis_of_a_single_scale_says_nothing() -> None:
    load_model(
        model("""g (float[2] x) => (float[2] y) <float s = {0.5}, uint8 z = {0}>
        { q = QuantizeLinear <axis = 1> (x, s, z)
          y = DequantizeLinear <axis = 1> (q, s, z) }""")
    )
