"""Float convolutions and matrix products in whole graphs: layouts, what joins, and answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qcompile.compiler import compile_model
from qcompile.config import CompileConfig
from qcompile.targets import TARGETS
from qcompile.targets.rules.floats import runs
from qcompile.validation.first_difference import judge
from tests.graphs import graph
from tests.nets import NETS, convolutional, net, samples
from tests.targets.test_lowering import HERE, every_value, in_turn, runnable

FLOAT = CompileConfig(recipe="float")
NAMES = [*convolutional.NETS, "rows", "attention"]

LEFT = {
    "weights that are computed": """g (float[1,2,4,4] x, float[3,2,1,1] w) =>
        (float[1,3,4,4] y) { y = Conv(x, w) }""",
    "three axes": """g (float[1,2,4,4,4] x) => (float[1,1,4,4,4] y)
        <float[1,2,1,1,1] w = {1.0, 2.0}> { y = Conv(x, w) }""",
    "a vector": """g (float[3] x, float[3,2] w) => (float[2] y) { y = MatMul(x, w) }""",
    "indices beside the greatest": """g (float[1,2,4,4] x) =>
        (float[1,2,3,3] y, int64[1,2,3,3] i)
        { y, i = MaxPool <kernel_shape = [2, 2]> (x) }""",
    "bounds that are computed": """g (float[3] x, float low) => (float[3] y)
        { y = Clip(x, low) }""",
    "a scaled Gemm": """g (float[2,2] x) => (float[2,2] y)
        <float[2,2] w = {1.0, 2.0, 3.0, 4.0}> { y = Gemm <alpha = 2.0> (x, w) }""",
}

JOINED = {
    "bias, residual, Relu": (
        """g (float[1,8,6,6] x, float[8,8,3,3] w, float[8] b) => (float[1,8,6,6] y)
        { c = Conv <pads = [1, 1, 1, 1]> (x, w, b)  s = Add(c, x)  y = Relu(s) }""",
        ["FloatConv"],
    ),
    "a function of the sum": (
        """g (float[1,4,6,6] x, float[20,4,3,3] w) => (float[1,20,4,4] y)
        { c = Conv(x, w)  y = Tanh(c) }""",
        ["FloatConv"],
    ),
    "a gate": (
        """g (float[1,4,6,6] x, float[20,4,3,3] w) => (float[1,20,4,4] y)
        { c = Conv(x, w)  g = Sigmoid(c)  y = Mul(c, g) }""",
        ["FloatConv"],
    ),
    "a bias of rows": (
        """g (float[2,3,8] x, float[8,20] w, float[20] v) => (float[2,3,20] y)
        { m = MatMul(x, w)  s = Add(m, v)  y = Gelu(s) }""",
        ["FloatConv"],
    ),
    "both computed": (
        """g (float[2,4,8] x, float[8,8] w) => (float[2,4,4] y)
        { a = MatMul(x, w)  t = Transpose <perm = [0, 2, 1]> (a)  m = MatMul(x, t)
          y = Relu(m) }""",
        ["FloatConv", "FloatMatMul"],
    ),
    "a mask that a Softmax adds": (
        """g (float[2,4,8] x, float[2,4,4] mask) => (float[2,4,4] y)
        { t = Transpose <perm = [0, 2, 1]> (x)  m = MatMul(x, t)  s = Add(m, mask)
          y = Softmax(s) }""",
        ["FloatMatMul", "FloatSoftmax"],
    ),
    "two readers": (
        """g (float[1,4,6,6] x, float[20,4,3,3] w) => (float[1,20,4,4] y)
        { c = Conv(x, w)  t = Tanh(c)  y = Add(c, t) }""",
        ["FloatConv", "FloatFunction", "FloatPair"],
    ),
    "depthwise": (
        """g (float[1,16,6,6] x, float[16,1,3,3] w) => (float[1,16,6,6] y)
        { c = Conv <group = 16, pads = [1, 1, 1, 1]> (x, w)  y = Relu(c) }""",
        ["FloatDepthwise"],
    ),
}


def test_weights_that_no_int8_holds() -> None:
    """A uint8 zero point of 255 keeps the convolution in float: in a kernel of ours."""
    model = graph("""g (float[1,1,4,4] x) => (float[1,2,4,4] y)
        <float s = {0.5}, uint8 z = {128}, uint8[2,1,1,1] w = {3, 250}, uint8 v = {255}>
        { q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)
          k = DequantizeLinear(w, s, v)  y = Conv(d, k) }""")
    compiled = compile_model(model, HERE[0])
    assert "FloatConv" in [each["kernel"] for each in compiled.manifest["kernels"]]
    x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    expected = np.concatenate([x * -126, x * -2.5], axis=1)
    np.testing.assert_array_equal(compiled.run({"x": x})["y"], expected)


@pytest.mark.parametrize("text", LEFT.values(), ids=LEFT)
def test_left_to_islands(text: str) -> None:
    assert not runs(graph(text).graph[0])


@pytest.mark.parametrize(("text", "kernels"), JOINED.values(), ids=JOINED)
def test_joins(text: str, kernels: list[str]) -> None:
    compiled = compile_model(net(text), HERE[0], config=FLOAT)
    found = [each["kernel"] for each in compiled.manifest["kernels"]]
    assert [name for name in found if name != "Move"] == kernels


def test_images_stay_images() -> None:
    """Between convolutions nothing is moved: once at the entry, once at the end."""
    model = net(NETS["convolutions and a residual"])
    kernels = compile_model(model, HERE[0], config=FLOAT).manifest["kernels"]
    assert [each["kernel"] for each in kernels] == ["Move", *["FloatConv"] * 3, "Move"]


@pytest.mark.parametrize(
    ("name", "target"), [case for case in in_turn(HERE) if case.values[0] in NAMES]
)
def test_floats_are_the_oracles(name: str, target: str, tmp_path: Path) -> None:
    """Within the bound of a float node; joined kernels give the bits of each by itself."""
    model = net(NETS[name])
    compiled = compile_model(model, runnable(TARGETS[target]), config=FLOAT)
    graph = compiled.integer_graph
    alone = every_value(compiled.target, graph, tmp_path)
    for inputs in samples(model, 2, seed=1):
        values = {**inputs, **alone(inputs)}
        assert [each for each in judge(graph, values) if each["differences"]] == []
        for key, array in compiled.run(inputs).items():
            np.testing.assert_array_equal(array, values[key])
