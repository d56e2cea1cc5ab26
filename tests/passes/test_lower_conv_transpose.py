"""LowerConvTranspose: graphs before and after, and onnxruntime's answers before and after."""

from __future__ import annotations

import math

import numpy as np
import onnx
import onnx.shape_inference
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from qcompile.passes.lower_conv_transpose import LowerConvTranspose
from tests.answers import UNIT, Array, random_feeds, run
from tests.graphs import assert_graph, graph

DOUBLE = "<strides = [2, 2]>"
WEIGHT = "float[1,1,2,2] w = {1.0, 2.0, 3.0, 4.0}"
PHASES = "float[4,1,1,1] v = {1.0, 2.0, 3.0, 4.0}"
CONV = (
    "Conv <kernel_shape = [1, 1], strides = [1, 1], pads = [0, 0, 0, 0], "
    "dilations = [1, 1], group = 1>"
)
MOVES = "int64[6] a = {1, 1, 2, 2, 3, 3}, int64[4] m = {1, 1, 6, 6}"

CHANGES = {
    "stride and kernel of 2": (
        f"""g (float[1,1,3,3] x) => (float[1,1,6,6] y) <{WEIGHT}>
        {{ y = ConvTranspose {DOUBLE} (x, w) }}""",
        f"""g (float[1,1,3,3] x) => (float[1,1,6,6] y) <{PHASES}, {MOVES}>
        {{ c = {CONV} (x, v)  s = Reshape (c, a)
          t = Transpose <perm = [0, 1, 4, 2, 5, 3]> (s)  y = Reshape (t, m) }}""",
    ),
    "a bias and a Relu": (
        f"""g (float[1,1,3,3] x) => (float[1,1,6,6] y) <{WEIGHT}, float[1] b = {{5.0}},
          float[1,1,6,6] z>
        {{ z = ConvTranspose {DOUBLE} (x, w, b)  y = Relu (z) }}""",
        f"""g (float[1,1,3,3] x) => (float[1,1,6,6] y) <{PHASES}, {MOVES},
          float[4] b = {{5.0, 5.0, 5.0, 5.0}}>
        {{ c = {CONV} (x, v, b)  r = Relu (c)  s = Reshape (r, a)
          t = Transpose <perm = [0, 1, 4, 2, 5, 3]> (s)  y = Reshape (t, m) }}""",
    ),
    "stride 1": (
        """g (float[1,1,3,3] x) => (float[1,1,4,4] y) <float[1,1,2,2] w = {1.0, 2.0, 3.0, 4.0}>
        { y = ConvTranspose (x, w) }""",
        """g (float[1,1,3,3] x) => (float[1,1,4,4] y) <float[1,1,2,2] v = {4.0, 3.0, 2.0, 1.0}>
        { y = Conv <kernel_shape = [2, 2], strides = [1, 1], pads = [1, 1, 1, 1],
            dilations = [1, 1], group = 1> (x, v) }""",
    ),
    "integers behind a DequantizeLinear": (
        f"""g (float[1,1,3,3] x) => (float[1,1,6,6] y) <int8[1,1,2,2] q = {{1, 2, 3, 4}},
          float[1] s = {{0.5}}, int8[1] z = {{0}}, float[1,1,2,2] w>
        {{ w = DequantizeLinear <axis = 1> (q, s, z)  y = ConvTranspose {DOUBLE} (x, w) }}""",
        f"""g (float[1,1,3,3] x) => (float[1,1,6,6] y) <int8[4,1,1,1] q = {{1, 2, 3, 4}},
          float[4] s = {{0.5, 0.5, 0.5, 0.5}}, int8[4] z = {{0, 0, 0, 0}}, {MOVES}>
        {{ w = DequantizeLinear <axis = 0> (q, s, z)  c = {CONV} (x, w)  e = Reshape (c, a)
          t = Transpose <perm = [0, 1, 4, 2, 5, 3]> (e)  y = Reshape (t, m) }}""",
    ),
    "a QuantizeLinear after it": (
        f"""g (float[1,1,3,3] x) => (uint8[1,1,6,6] y) <{WEIGHT}, float s = {{0.5}},
          uint8 z = {{3}}, float[1,1,6,6] u>
        {{ u = ConvTranspose {DOUBLE} (x, w)  y = QuantizeLinear (u, s, z) }}""",
        f"""g (float[1,1,3,3] x) => (uint8[1,1,6,6] y) <{PHASES}, {MOVES}, float s = {{0.5}},
          uint8 z = {{3}}>
        {{ c = {CONV} (x, v)  q = QuantizeLinear (c, s, z)  d = DequantizeLinear (q, s, z)
          r = Reshape (d, a)  t = Transpose <perm = [0, 1, 4, 2, 5, 3]> (r)
          u = Reshape (t, m)  y = QuantizeLinear (u, s, z) }}""",
    ),
    "inside a branch": (
        f"""g (bool k, float[1,1,3,3] x) => (float[1,1,6,6] y) <{WEIGHT}>
        {{ y = If (k) <
            then_branch: graph = i () => (float[1,1,6,6] p)
              {{ p = ConvTranspose {DOUBLE} (x, w) }},
            else_branch: graph = e () => (float[1,1,6,6] n)
              {{ n = ConvTranspose {DOUBLE} (x, w) }}> }}""",
        f"""g (bool k, float[1,1,3,3] x) => (float[1,1,6,6] y) <{PHASES}, {MOVES}>
        {{ y = If (k) <
            then_branch: graph = i () => (float[1,1,6,6] p)
              {{ c = {CONV} (x, v)  s = Reshape (c, a)
                t = Transpose <perm = [0, 1, 4, 2, 5, 3]> (s)  p = Reshape (t, m) }},
            else_branch: graph = e () => (float[1,1,6,6] n)
              {{ c = {CONV} (x, v)  s = Reshape (c, a)
                t = Transpose <perm = [0, 1, 4, 2, 5, 3]> (s)  n = Reshape (t, m) }}> }}""",
    ),
}

KEPT = {
    "a computed weight": """g (float[1,1,3,3] x, float[1,1,2,2] w) => (float[1,1,6,6] y)
        { y = ConvTranspose <strides = [2, 2]> (x, w) }""",
    "a weight that is also an input": f"""g (float[1,1,3,3] x, float[1,1,2,2] w) =>
        (float[1,1,6,6] y) <{WEIGHT}> {{ y = ConvTranspose {DOUBLE} (x, w) }}""",
    "a computed bias": f"""g (float[1,1,3,3] x, float[1] b) => (float[1,1,6,6] y) <{WEIGHT}>
        {{ y = ConvTranspose {DOUBLE} (x, w, b) }}""",
    "an open size": f"""g (float[1,1,h,3] x) => (float[1,1,k,6] y) <{WEIGHT}>
        {{ y = ConvTranspose {DOUBLE} (x, w) }}""",
    "output_shape": f"""g (float[1,1,3,3] x) => (float[1,1,6,6] y) <{WEIGHT}>
        {{ y = ConvTranspose <strides = [2, 2], output_shape = [6, 6]> (x, w) }}""",
    "scales along the input channels": """g (float[1,1,3,3] x) => (float[1,1,6,6] y)
        <int8[1,1,2,2] q = {1, 2, 3, 4}, float[1] s = {0.5}, float[1,1,2,2] w>
        { w = DequantizeLinear <axis = 0> (q, s)
          y = ConvTranspose <strides = [2, 2]> (x, w) }""",
}


@pytest.mark.parametrize(("before", "after"), CHANGES.values(), ids=CHANGES)
def test_lowers(before: str, after: str) -> None:
    result = LowerConvTranspose()(graph(before))
    assert result.modified
    assert_graph(result.model, after)
    assert not LowerConvTranspose()(result.model).modified


@pytest.mark.parametrize("before", KEPT.values(), ids=KEPT)
def test_keeps(before: str) -> None:
    result = LowerConvTranspose()(graph(before))
    assert not result.modified
    assert_graph(result.model, before)


def test_second_reader_before_the_function() -> None:
    """A value that is also read elsewhere is the interleaved one."""
    model = graph(
        f"""g (float[1,1,3,3] x) => (float[1,1,6,6] y, float[1,1,6,6] z) <{WEIGHT}>
        {{ z = ConvTranspose {DOUBLE} (x, w)  y = Relu (z) }}"""
    )
    after = LowerConvTranspose()(model).model
    assert [node.op_type for node in after.graph] == [
        "Conv",
        "Reshape",
        "Transpose",
        "Reshape",
        "Relu",
    ]


def test_names_stay() -> None:
    """What a user addresses by name keeps it."""
    model = graph(
        f"""g (float[1,1,3,3] x) => (float[1,1,6,6] y) <{WEIGHT}, float[1,1,6,6] z>
        {{ [up] z = ConvTranspose {DOUBLE} (x, w)  [act] y = Relu (z) }}"""
    )
    after = LowerConvTranspose()(model).model
    names = {node.op_type: node.name for node in after.graph}
    assert (names["Conv"], names["Relu"]) == ("up", "act")


@st.composite
def cases(draw: st.DrawFn) -> tuple[onnx.ModelProto, int]:
    """Return a model of one ConvTranspose and how many terms an answer has at most."""
    number = st.integers
    rank, group = draw(number(1, 2)), draw(number(1, 3))
    outputs, inputs = draw(number(1, 3)), draw(number(1, 3))
    image = [draw(number(1, 4)) for _ in range(rank)]
    kernel = [draw(number(1, 5)) for _ in range(rank)]
    strides = [draw(number(1, 4)) for _ in range(rank)]
    dilations = [draw(number(1, 3)) for _ in range(rank)]
    extra = [draw(number(0, stride - 1)) for stride in strides]
    axes = zip(image, strides, kernel, dilations, extra, strict=True)
    full = [(n - 1) * s + (k - 1) * d + 1 + e for n, s, k, d, e in axes]
    begins = [draw(number(0, min(n - 1, 6))) for n in full]
    ends = [draw(number(0, min(n - 1 - b, 6))) for n, b in zip(full, begins, strict=True)]
    size = [n - b - e for n, b, e in zip(full, begins, ends, strict=True)]
    noise = np.random.default_rng(draw(number(0, 2**16)))
    scales = draw(st.sampled_from([None, (), (outputs,)]))
    shape = (inputs * group, outputs, *kernel)
    constants: dict[str, Array] = {"b": noise.normal(size=outputs * group).astype(np.float32)}
    nodes = []
    if scales is None:
        constants["w"] = noise.normal(size=shape).astype(np.float32)
    else:
        constants["q"] = noise.integers(-128, 128, shape).astype(np.int8)
        constants["s"] = noise.uniform(0.01, 0.1, scales).astype(np.float32)
        constants["z"] = noise.integers(-20, 20, scales).astype(np.int8)
        nodes.append(helper.make_node("DequantizeLinear", ["q", "s", "z"], ["w"], axis=1))
    up = helper.make_node(
        "ConvTranspose",
        ["x", "w", "b"],
        ["y"],
        strides=strides,
        dilations=dilations,
        pads=begins + ends,
        output_padding=extra,
        group=group,
        kernel_shape=kernel,
    )
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [*nodes, up],
        "g",
        [info("x", onnx.TensorProto.FLOAT, [2, inputs * group, *image])],
        [info("y", onnx.TensorProto.FLOAT, [2, outputs * group, *size])],
        [
            numpy_helper.from_array(np.asarray(array), name)
            for name, array in constants.items()
        ],
    )
    opset = [helper.make_opsetid("", 21)]
    model = helper.make_model(body, opset_imports=opset, ir_version=10)
    return onnx.shape_inference.infer_shapes(model), inputs * math.prod(kernel) + 1


def magnitudes(model: onnx.ModelProto, feeds: dict[str, Array]) -> Array:
    """Return the sums of the terms' magnitudes: the same model of absolute values."""
    positive = onnx.ModelProto()
    positive.CopyFrom(model)
    stored = model.graph.initializer
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in stored}
    if "q" in arrays:
        along = (-1, *(1,) * (arrays["q"].ndim - 2))
        scale, zero_point = (arrays[name].reshape(along) for name in ("s", "z"))
        arrays["w"] = (arrays["q"].astype(np.float32) - zero_point) * scale
        del positive.graph.node[0]
    del positive.graph.initializer[:]
    positive.graph.initializer.extend(
        numpy_helper.from_array(np.abs(arrays[name]), name) for name in ("w", "b")
    )
    (y,) = run(positive, {name: np.abs(array) for name, array in feeds.items()})
    return y


@settings(max_examples=150, deadline=None)
@given(cases())
def test_same_sums(case: tuple[onnx.ModelProto, int]) -> None:
    """The same terms in another order.

    A sum of K terms in float32, in any order, is off by at most K u times the sum of the
    magnitudes (Higham); there are two such sums.
    """
    model, terms = case
    feeds = random_feeds(model)
    result = LowerConvTranspose()(ir.from_proto(model))
    assert result.modified
    after = ir.to_proto(result.model)
    onnx.checker.check_model(after, full_check=True)
    assert "ConvTranspose" not in {node.op_type for node in after.graph.node}
    (got,), (wanted,) = run(after, feeds), run(model, feeds)
    difference = np.abs(got.astype(np.float64) - wanted.astype(np.float64))
    assert np.less_equal(
        difference, np.multiply(2 * terms * UNIT, magnitudes(model, feeds))
    ).all()
