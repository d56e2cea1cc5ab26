"""Graphs before and after FuseFloatResidual."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from qcompile.passes.fuse_float_residual import FuseFloatResidual
from tests.graphs import assert_graph, graph

CONSTANTS = """<int8[2,2] w = {1, 2, 3, 4}, int32[2] b = {0, 0}, float[2] m = {1.0, 2.0},
    int8[2,2] v = {4, 3, 2, 1}, float s = {0.5}>"""


def product(operands: str, *, dtype: int = 1, high: str = "inf") -> str:
    return f"""qcompile.QMatMul <x_zero_point = 128, y_dtype = {dtype},
        y_zero_point = 0, lo = -inf, hi = {high}> ({operands})"""


A, B = product("x, w, b, m"), product("x, v, b, m")
HEAD = "g (uint8[1,2] x, float[1,2] r) => (float[1,2] y)"
CHANGES = {
    "second": (
        f"{HEAD} {CONSTANTS} {{ a = {A}  y = Add(a, r) }}",
        f"{HEAD} {CONSTANTS} {{ y = {product('x, w, b, m, r')} }}",
    ),
    "first": (
        f"{HEAD} {CONSTANTS} {{ a = {A}  y = Add(r, a) }}",
        f"{HEAD} {CONSTANTS} {{ y = {product('x, w, b, m, r')} }}",
    ),
    "two products": (
        f"{HEAD} {CONSTANTS} {{ a = {A}  c = {B}  y = Add(c, a) }}",
        f"{HEAD} {CONSTANTS} {{ a = {A}  y = {product('x, v, b, m, a')} }}",
    ),
    "a chain": (
        f"{HEAD} {CONSTANTS} {{ a = {A}  t = Add(a, r)  c = {B}  y = Add(t, c) }}",
        f"""{HEAD} {CONSTANTS} {{ t = {product("x, w, b, m, r")}
        y = {product("x, v, b, m, t")} }}""",
    ),
    "a residual that is computed later": (
        f"{HEAD} {CONSTANTS} {{ a = {A}  t = Relu(r)  y = Add(a, t) }}",
        f"{HEAD} {CONSTANTS} {{ t = Relu(r)  y = {product('x, w, b, m, t')} }}",
    ),
}
KEPT = {
    "another reader": f"""g (uint8[1,2] x, float[1,2] r) => (float[1,2] y, float[1,2] z)
        {CONSTANTS} {{ a = {A}  y = Add(a, r)  z = Relu(a) }}""",
    "a graph output": f"""g (uint8[1,2] x, float[1,2] r) => (float[1,2] y, float[1,2] a)
        {CONSTANTS} {{ a = {A}  y = Add(a, r) }}""",
    "twice the same": f"{HEAD} {CONSTANTS} {{ a = {A}  y = Add(a, a) }}",
    "a clamp": f"""{HEAD} {CONSTANTS} {{ a = {product("x, w, b, m", high="6.0")}
        y = Add(a, r) }}""",
    "a residual already": f"""{HEAD} {CONSTANTS} {{ a = {product("x, w, b, m, r")}
        y = Add(a, r) }}""",
    "another shape": f"{HEAD} {CONSTANTS} {{ a = {A}  y = Add(a, s) }}",
    "a difference": f"{HEAD} {CONSTANTS} {{ a = {A}  y = Sub(a, r) }}",
}


@pytest.mark.parametrize(("before", "after"), CHANGES.values(), ids=CHANGES)
def test_takes_it_in(before: str, after: str) -> None:
    model = graph(before)
    for node in model.graph:  # as in an integer graph, where every shape is known
        node.outputs[0].shape = ir.Shape([1, 2])
    result = FuseFloatResidual()(model)
    assert result.modified
    assert_graph(result.model, after)
    assert not FuseFloatResidual()(result.model).modified


@pytest.mark.parametrize("before", KEPT.values(), ids=KEPT)
def test_keeps(before: str) -> None:
    result = FuseFloatResidual()(graph(before))
    assert not result.modified
    assert_graph(result.model, before)
