"""Which nodes become integers, which values are stored in 8 bits, and the reasons given."""

from __future__ import annotations

import numpy as np
import pytest

from qcompile.config import CompileConfig, Override
from qcompile.schemes.placement import BETWEEN_FLOATS, TAIL, place
from qcompile.schemes.precision import MAGNITUDE, RESIDUAL, SCORES
from tests.graphs import graph
from tests.quantization import set_constants, target, typed

TARGET = target(without=("Erf",))

PLACES = {
    "conv to output": (
        """g (float[1,2,4,4] x) => (float[1,2,4,4] y) <float[2,2,1,1] w = {1., 2., 3., 4.}>
        { y = Conv(x, w) }""",
        ["x"],
        {},
    ),
    "softmax last: float, and what feeds it gives float": (
        """g (float[1,2] x) => (float[1,2] y) <float[2,2] w = {1., 2., 3., 4.}>
        { a = MatMul(x, w)  y = Softmax(a) }""",
        ["x"],
        {"y": TAIL},
    ),
    "moves and tables last": (
        """g (float[1,2] x) => (float[2] y) <float[2,2] w = {1., 2., 3., 4.}, int64[1] s = {2}>
        { a = MatMul(x, w)  r = Sigmoid(a)  y = Reshape(r, s) }""",
        ["x"],
        {"r": TAIL, "y": TAIL},
    ),
    "a softmax that is read on": (
        """g (float[1,2] x) => (float[1,2] y) <float[2,2] w = {1., 2., 3., 4.}>
        { a = Softmax(x)  y = MatMul(a, w) }""",
        ["x", "a"],
        {},
    ),
    "a table that is read and given out": (
        """g (float[1,2] x) => (float[1,2] a, float[1,2] y) <float[2,2] w = {1., 2., 3., 4.}>
        { m = MatMul(x, w)  a = Tanh(m)  y = MatMul(a, w) }""",
        ["x", "m", "a"],
        {},
    ),
    "a table of floats that is read and given out": (
        """g (float[1,2] x) => (float[1,2] a, float[1,2] y) <float[2,2] w = {1., 2., 3., 4.}>
        { a = Tanh(x)  y = MatMul(a, w) }""",
        ["a"],
        {"a": BETWEEN_FLOATS},
    ),
    "a relu at the end belongs to its conv": (
        """g (float[1,2,4,4] x) => (float[1,2,4,4] y) <float[2,2,1,1] w = {1., 2., 3., 4.}>
        { a = Conv(x, w)  y = Relu(a) }""",
        ["x"],
        {},
    ),
    "a move between integers": (
        """g (float[1,4,1,1] x) => (float[1,2] y)
        <float[4,2] w = {1., 2., 3., 4., 5., 6., 7., 8.}>
        { a = GlobalAveragePool(x)  f = Flatten(a)  y = MatMul(f, w) }""",
        ["x", "a", "f"],
        {},
    ),
    "moves of a graph input that a product reads": (
        """g (float[2,1] x) => (float[1,2] y)
        <float[2,2] w = {1., 2., 3., 4.}, int64[2] s = {1, 2}>
        { a = Reshape(x, s)  b = Reshape(a, s)  y = MatMul(b, w) }""",
        ["x", "a", "b"],
        {},
    ),
    "a move between floats": (
        """g (float[1,2] x) => (float[1,2] y)
        { a = Erf(x)  b = Transpose(a)  c = Transpose(b)  y = Erf(c) }""",
        [],
        {
            "a": "table-top has no integer kernel for Erf",
            "b": BETWEEN_FLOATS,
            "c": BETWEEN_FLOATS,
            "y": "table-top has no integer kernel for Erf",
        },
    ),
    "a move from integers to float": (
        """g (float[1,2] x) => (float[2,1] y) <float[2,2] w = {1., 2., 3., 4.}>
        { a = MatMul(x, w)  b = Transpose(a)  y = Erf(b) }""",
        ["x", "a", "b"],
        {"y": "table-top has no integer kernel for Erf"},
    ),
    "a move from float to integers": (
        """g (float[2,1] x) => (float[1,2] y) <float[2,2] w = {1., 2., 3., 4.}>
        { a = Erf(x)  b = Transpose(a)  y = MatMul(b, w) }""",
        ["a", "b"],
        {"a": "table-top has no integer kernel for Erf"},
    ),
    "an arithmetic step that float reads gives float": (
        """g (float[1,2] x) => (float[1,2] y) <float[2,2] w = {1., 2., 3., 4.}>
        { a = MatMul(x, w)  y = Erf(a) }""",
        ["x"],
        {"y": "table-top has no integer kernel for Erf"},
    ),
    "integers, not numbers": (
        """g (int64[2] x) => (int64[1,2] y) <int64[2] s = {1, 2}> { y = Reshape(x, s) }""",
        [],
        {"y": "its data is INT64, not FLOAT"},
    ),
    "a product of two activations": (
        """g (float[2,2] x, float[2,2] w) => (float[2,2] y) { y = MatMul(x, w) }""",
        ["x", "w"],
        {},
    ),
    "a constant times an activation": (
        """g (float[2,2] x) => (float[2,2] y) <float[2,2] w = {1., 2., 3., 4.}>
        { y = MatMul(w, x) }""",
        ["x"],
        {},
    ),
    "a computed bias": (
        """g (float[2,2] x, float[2] b) => (float[2,2] y) <float[2,2] w = {1., 2., 3., 4.}>
        { y = Gemm(x, w, b) }""",
        [],
        {"y": "its bias is not one constant number an output channel"},
    ),
    "a bias a row": (
        """g (float[2,2] x) => (float[2,2] y)
        <float[2,2] w = {1., 2., 3., 4.}, float[2,1] b = {1., 2.}> { y = Gemm(x, w, b) }""",
        [],
        {"y": "its bias is not one constant number an output channel"},
    ),
    "a computed bound": (
        """g (float[2] x, float low) => (float[2] y) { a = Clip(x, low)  y = Add(a, a) }""",
        [],
        {"a": "its parameters are not constant", "y": BETWEEN_FLOATS},
    ),
    "the sums that a normalization reads": (
        """g (float[1,2] x) => (float[1,2] z)
        <float[2,2] w = {1., 2., 3., 4.}, float[2] s = {1., 2.}>
        { a = MatMul(x, w)  r = Add(a, x)  b = MatMul(r, w)  t = Add(b, r)
          y = LayerNormalization(t, s)  z = MatMul(y, w) }""",
        ["x", "r", "y"],
        {
            "r": RESIDUAL,
            "t": RESIDUAL,
            "y": "table-top has no integer kernel for LayerNormalization",
        },
    ),
    "the scores of an attention": (
        """g (float[2,2] q, float[2,2] k, float[2,2] m) => (float[2,2] y)
        <float h = {0.5}>
        { p = MatMul(q, k)  s = Mul(p, h)  b = Add(s, m)  a = Softmax(b)
          y = MatMul(a, k) }""",
        ["q", "k", "a"],
        {"s": SCORES, "b": SCORES, "a": SCORES},
    ),
    "a root mean square": (
        """g (float[1,2] x) => (float[1,2] y)
        <float[2,2] w = {1., 2., 3., 4.}, int64[1] last = {1}, float e = {0.001}>
        { a = MatMul(x, w)  s = Mul(a, a)  m = ReduceMean(s, last)  p = Add(m, e)
          r = Sqrt(p)  i = Reciprocal(r)  n = Mul(a, i)  y = MatMul(n, w) }""",
        ["x", "n"],
        dict.fromkeys("smprin", MAGNITUDE),
    ),
    "a root of what is no square": (
        """g (float[1,2] x) => (float[1,2] y) <float[2,2] w = {1., 2., 3., 4.}>
        { a = MatMul(x, w)  r = Sqrt(a)  y = MatMul(r, w) }""",
        ["x", "a", "r"],
        {},
    ),
    "an unknown operator": (
        """g (float[2] x) => (int64[2] i, float[2] y) { y, i = Unique(x) }""",
        [],
        {"y": "table-top has no integer kernel for Unique"},
    ),
}


@pytest.mark.parametrize(("text", "quantized", "floats"), PLACES.values(), ids=PLACES)
def test_places(text: str, quantized: list[str], floats: dict[str, str]) -> None:
    placement = place(typed(graph(text)).graph, TARGET, CompileConfig())
    assert [value.name for value in placement.quantized] == quantized
    reasons = {node.outputs[0].name: why for node, why in placement.float_reasons.items()}
    assert reasons == floats


def test_numbers_that_no_scale_holds_stay_float() -> None:
    model = set_constants(
        graph("""g (float[1,2] x, float[2,2] w, float[2] m) => (float[1,2] y, float[1,2] z)
        { y = MatMul(x, w)  z = Add(x, m) }"""),
        {"w": [[1.0, np.nan], [3.0, 4.0]], "m": [0.0, -np.inf]},
    )
    reasons = place(model.graph, TARGET, CompileConfig()).float_reasons
    assert list(reasons.values()) == [
        "its constants hold NaN or infinity",
        "its constant input holds NaN or infinity",
    ]


CONFIGURED = {
    "float": (
        CompileConfig(float_ops=("MatMul",)),
        {
            "a": "the config keeps MatMul in float",
            "b": TAIL,
        },
    ),
    "integer against the rule of the tail": (
        CompileConfig(ops={"Softmax": Override(float=False)}),
        {},
    ),
}


@pytest.mark.parametrize(("config", "floats"), CONFIGURED.values(), ids=CONFIGURED)
def test_the_config_decides(config: CompileConfig, floats: dict[str, str]) -> None:
    model = graph("""g (float[1,2] x) => (float[1,2] b) <float[2,2] w = {1., 2., 3., 4.}>
        { a = MatMul(x, w)  b = Softmax(a) }""")
    placement = place(typed(model).graph, TARGET, config)
    reasons = {node.outputs[0].name: why for node, why in placement.float_reasons.items()}
    assert reasons == floats
