"""LowerConv1d: graphs before and after, and onnxruntime's answers before and after."""

from __future__ import annotations

import pytest

from qcompile.passes.lower_conv_1d import LowerConv1d
from tests.answers import assert_same_answers, inferred
from tests.graphs import assert_graph

W3 = "float[1,1,3] w = {1.0, 2.0, 3.0}"
W4 = "float[1,1,1,3] w = {1.0, 2.0, 3.0}"
AXES = "int64[1] two = {2}"

CHANGES = {
    "a convolution": (
        f"""g (float[1,1,8] x) => (float[1,1,4] y) <{W3}>
        {{ y = Conv <strides = [2], pads = [1, 1], kernel_shape = [3]> (x, w) }}""",
        f"""g (float[1,1,8] x) => (float[1,1,4] y) <{W4}, {AXES}>
        {{ u = Unsqueeze (x, two)
          c = Conv <strides = [1, 2], pads = [0, 1, 0, 1], kernel_shape = [1, 3]> (u, w)
          y = Squeeze (c, two) }}""",
    ),
    "a chain with functions and a residual sum": (
        f"""g (float[1,1,8] x) => (float[1,1,8] y) <{W3}, float half = {{0.5}}>
        {{ a = Conv <pads = [1, 1]> (x, w)  b = Sigmoid (a)  s = Mul (b, half)
          c = Conv <pads = [1, 1]> (s, w)  d = Add (c, s)  y = Relu (d) }}""",
        f"""g (float[1,1,8] x) => (float[1,1,8] y) <{W4}, {AXES}, float half = {{0.5}}>
        {{ u = Unsqueeze (x, two)  a = Conv <pads = [0, 1, 0, 1]> (u, w)  b = Sigmoid (a)
          s = Mul (b, half)  c = Conv <pads = [0, 1, 0, 1]> (s, w)  d = Add (c, s)
          e = Relu (d)  y = Squeeze (e, two) }}""",
    ),
    "pools": (
        f"""g (float[1,1,8] x) => (float[1,1,1] y) <{AXES}>
        {{ a = MaxPool <kernel_shape = [2], strides = [2]> (x)
          b = AveragePool <kernel_shape = [2]> (a)  y = GlobalAveragePool (b) }}""",
        f"""g (float[1,1,8] x) => (float[1,1,1] y) <{AXES}>
        {{ u = Unsqueeze (x, two)  a = MaxPool <kernel_shape = [1, 2], strides = [1, 2]> (u)
          b = AveragePool <kernel_shape = [1, 2]> (a)  c = GlobalAveragePool (b)
          y = Squeeze (c, two) }}""",
    ),
    "a transposed convolution": (
        f"""g (float[1,1,4] x) => (float[1,1,10] y) <{W3}>
        {{ y = ConvTranspose <strides = [2], output_padding = [1]> (x, w) }}""",
        f"""g (float[1,1,4] x) => (float[1,1,10] y) <{W4}, {AXES}>
        {{ u = Unsqueeze (x, two)
          c = ConvTranspose <strides = [1, 2], output_padding = [0, 1]> (u, w)
          y = Squeeze (c, two) }}""",
    ),
    "a quantized weight": (
        """g (float[1,1,8] x) => (float[1,2,6] y) <int8[2,1,3] q = {1, 2, 3, 4, 5, 6},
          float[2] s = {0.5, 0.25}>
        { w = DequantizeLinear <axis = 0> (q, s)  y = Conv (x, w) }""",
        f"""g (float[1,1,8] x) => (float[1,2,6] y) <int8[2,1,1,3] q = {{1, 2, 3, 4, 5, 6}},
          float[2] s = {{0.5, 0.25}}, {AXES}>
        {{ u = Unsqueeze (x, two)  w = DequantizeLinear <axis = 0> (q, s)
          c = Conv (u, w)  y = Squeeze (c, two) }}""",
    ),
}

KEPT = {
    "an image": """g (float[1,1,8,8] x) => (float[1,1,8,8] y) <float[1,1,1,1] w = {1.0}>
        { y = Conv (x, w) }""",
    "a computed weight": """g (float[1,1,8] x, float[1,1,3] w) => (float[1,1,6] y)
        { y = Conv (x, w) }""",
    "auto_pad": f"""g (float[1,1,8] x) => (float[1,1,8] y) <{W3}>
        {{ y = Conv <auto_pad = "SAME_UPPER"> (x, w) }}""",
    "the indices of a pool": """g (float[1,1,8] x) => (float[1,1,7] y, int64[1,1,7] i)
        { y, i = MaxPool <kernel_shape = [2]> (x) }""",
    "an open size": f"""g (float[1,1,n] x) => (float[1,1,m] y) <{W3}> {{ y = Conv (x, w) }}""",
}


@pytest.mark.parametrize(("before", "after"), CHANGES.values(), ids=CHANGES)
def test_lifts(before: str, after: str) -> None:
    result = LowerConv1d()(inferred(before))
    assert result.modified
    assert_graph(result.model, after)
    assert not LowerConv1d()(result.model).modified


@pytest.mark.parametrize("before", KEPT.values(), ids=KEPT)
def test_keeps(before: str) -> None:
    result = LowerConv1d()(inferred(before))
    assert not result.modified
    assert_graph(result.model, before)


@pytest.mark.parametrize("before", [before for before, _ in CHANGES.values()], ids=CHANGES)
def test_same_answers(before: str) -> None:
    """At most two sums of three terms, each in another order, and what stands between."""
    assert_same_answers(inferred(before), LowerConv1d(), roundings=16)
