"""Every folding rule against onnxruntime on the same QDQ graph, and what stays float."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcompile.config import CompileConfig
from qcompile.errors import CompileError
from qcompile.ops import FLOAT_REASON, SCALE, ZERO_POINT
from qcompile.oracle.operators import OPERATORS
from qcompile.passes.fold_qdq import FoldQdq
from qcompile.quant import S8_AFFINE
from tests.qdq_models import (
    S8_TARGET,
    U8_TARGET,
    Array,
    Builder,
    integer_graph,
    op_types,
    run_integers,
    run_reference,
    target,
    typed,
)

TIES = 1e-3
"""Share of values that may differ by one step: onnxruntime multiplies dequantized float32
numbers and rounds several times, so that a real tie may come out on either side."""


def steps_apart(proto: onnx.ModelProto, folded: ir.Model, x: Array, scale: float) -> Array:
    """Return by how many output steps the integer graph and onnxruntime differ."""
    (expected,), (actual,) = run_reference(proto, {"x": x}), run_integers(folded, {"x": x})
    assert expected.shape == actual.shape
    return np.abs(np.rint((actual.astype(np.float64) - expected) / scale))


def conv(builder: Builder, x: str, rng: np.random.Generator, **attributes: Any) -> str:
    """Add a 3x3 convolution from 8 to 16 channels with a bias, on an input of scale 1/64."""
    depth = 8 // attributes.get("group", 1)
    scale = rng.uniform(0.002, 0.01, 16)
    w = builder.weight(rng.integers(-127, 128, (16, depth, 3, 3)).astype(np.int8), scale)
    bias = rng.integers(-9000, 9000, 16).astype(np.int32)
    return builder.node("Conv", [x, w, builder.weight(bias, scale / 64)], **attributes)


def linear(builder: Builder, x: str, rng: np.random.Generator, **attributes: Any) -> str:
    """Add a Gemm over the last 20 numbers, on an input of scale 1/64."""
    scale = rng.uniform(0.002, 0.01, 12)
    transposed = attributes.get("transB", 0)
    w = rng.integers(-127, 128, (12, 20) if transposed else (20, 12)).astype(np.int8)
    bias = builder.weight(rng.integers(-900, 900, 12).astype(np.int32), scale / 64)
    weight = builder.weight(w, scale, axis=0 if transposed else 1)
    return builder.node("Gemm", [x, weight, bias], **attributes)


def matmul_bias(builder: Builder, x: str, rng: np.random.Generator) -> str:
    """Add a MatMul and a float bias behind it."""
    w = builder.weight(rng.integers(-127, 128, (20, 12)).astype(np.int8), 0.004)
    y = builder.node("MatMul", [x, w])
    return builder.node("Add", [builder.constant("b", rng.normal(size=12).astype("f4")), y])


def residual(builder: Builder, x: str, rng: np.random.Generator) -> str:
    """Add x to a convolution of it, then a Relu."""
    w = builder.weight(rng.integers(-127, 128, (8, 8, 1, 1)).astype(np.int8), 0.005)
    y = builder.node("Conv", [x, w])
    return builder.node("Relu", [builder.node("Add", [y, x])])


def bounded(builder: Builder, x: str, op_type: str, low: float, high: float) -> str:
    y = builder.node(op_type, [x], **({"count_include_pad": 1} if "Pool" in op_type else {}))
    bounds = [builder.constant(f"bound{b}", np.float32(b)) for b in (low, high)]
    return builder.node("Clip", [y, *bounds])


Body = Callable[[Builder, str, np.random.Generator], str]
IMAGE, ROWS = (2, 8, 15, 14), (40, 20)

BODIES: dict[str, tuple[Body, tuple[int, ...], str]] = {
    "conv": (lambda b, x, r: conv(b, x, r, pads=[1, 1, 1, 1]), IMAGE, "QConv"),
    "strided, uneven pads": (
        lambda b, x, r: conv(b, x, r, pads=[0, 1, 2, 0], strides=[2, 1]),
        IMAGE,
        "QConv",
    ),
    "dilated groups": (
        lambda b, x, r: conv(b, x, r, dilations=[2, 2], group=4),
        IMAGE,
        "QConv",
    ),
    "conv and relu": (lambda b, x, r: b.node("Relu", [conv(b, x, r)]), IMAGE, "QConv"),
    "residual": (residual, IMAGE, "QConv"),
    "gemm": (lambda b, x, r: linear(b, x, r), ROWS, "QMatMul"),
    "gemm transB": (lambda b, x, r: linear(b, x, r, transB=1), ROWS, "QMatMul"),
    "matmul and bias": (matmul_bias, (3, 10, 20), "QMatMul"),
    "add": (lambda b, x, r: b.node("Add", [x, b.qdq("x", 0.011, 7)]), IMAGE, "QAdd"),
    "sub": (lambda b, x, r: b.node("Sub", [x, b.qdq("x", 0.011, 7)]), IMAGE, "QAdd"),
    "mul": (lambda b, x, r: b.node("Mul", [b.qdq("x", 0.011, 7), x]), IMAGE, "QMul"),
    "mul and relu": (
        lambda b, x, r: b.node("Relu", [b.node("Mul", [b.qdq("x", 0.011, 7), x])]),
        IMAGE,
        "QMul",
    ),
    "mean of axes": (
        lambda b, x, r: b.node("ReduceMean", [x, b.constant("axes", np.array([3, 1]))]),
        IMAGE,
        "QReduceSum",
    ),
    "sum of the last axis": (
        lambda b, x, r: b.node(
            "ReduceSum", [x, b.constant("axes", np.array([-1]))], keepdims=0
        ),
        ROWS,
        "QReduceSum",
    ),
    "prelu": (
        lambda b, x, r: b.node(
            "PRelu", [x, b.constant("slope", r.normal(size=(8, 1, 1)).astype("f4"))]
        ),
        IMAGE,
        "QLut",
    ),
    "prelu of one slope": (
        lambda b, x, r: b.node("PRelu", [x, b.constant("slope", np.full(1, 0.3, "f4"))]),
        IMAGE,
        "QLut",
    ),
    "division by a number": (
        lambda b, x, r: b.node("Div", [x, b.constant("d", np.float32(3))]),
        IMAGE,
        "QLut",
    ),
    "average pool": (
        lambda b, x, r: b.node("AveragePool", [x], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        IMAGE,
        "QAveragePool",
    ),
    "average pool, ceil": (
        lambda b, x, r: b.node(
            "AveragePool", [x], kernel_shape=[3, 3], strides=[2, 3], ceil_mode=1
        ),
        IMAGE,
        "QAveragePool",
    ),
    "average pool over pads": (
        lambda b, x, r: b.node(
            "AveragePool", [x], kernel_shape=[5, 3], pads=[2, 1, 2, 1], count_include_pad=1
        ),
        IMAGE,
        "QAveragePool",
    ),
    "global pool": (
        lambda b, x, r: b.node("GlobalAveragePool", [x]),
        (64, 40, 5, 7),
        "QAveragePool",
    ),
    "relu": (lambda b, x, r: b.node("Relu", [x]), IMAGE, "QLut"),
    "sigmoid": (lambda b, x, r: b.node("Sigmoid", [x]), IMAGE, "QLut"),
    "softmax": (lambda b, x, r: b.node("Softmax", [x], axis=-1), (50, 30), "QSoftmax"),
    "softmax of channels": (lambda b, x, r: b.node("Softmax", [x], axis=1), IMAGE, "QSoftmax"),
}
"""Name -> (what stands between DQ and Q, shape of x, the operator it becomes)."""


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("name", BODIES)
def test_agrees_with_onnxruntime(name: str, dtype: type[np.integer[Any]]) -> None:
    body, shape, op_type = BODIES[name]
    rng = np.random.default_rng(0)
    builder, lowest = Builder(shape, dtype), np.iinfo(dtype).min
    y_scale = 1 / 256 if "softmax" in name or name == "sigmoid" else 0.0471
    y = body(builder, builder.qdq("x", 1 / 64, lowest + 121), rng)
    proto = builder.model(builder.qdq(y, y_scale, lowest + 50))
    x = rng.normal(0, 0.8, shape).astype(np.float32)
    for where in (U8_TARGET, S8_TARGET):
        folded = integer_graph(ir.from_proto(proto), where)
        assert op_types(folded)[-2:] == [op_type, "DequantizeLinear"]
        assert set(op_types(folded)) <= OPERATORS.keys() | {
            "QuantizeLinear",
            "DequantizeLinear",
        }
        apart = steps_apart(proto, folded, x, y_scale)
        assert apart.max() <= 1
        assert (apart > 0).mean() <= TIES


@pytest.mark.parametrize(
    "name",
    [
        "conv and relu",
        "residual",
        "gemm",
        "add",
        "mul and relu",
        "mean of axes",
        "average pool",
    ],
)
def test_float_output_has_no_step(name: str) -> None:
    body, shape, op_type = BODIES[name]
    rng = np.random.default_rng(1)
    builder = Builder(shape)
    y = body(builder, builder.qdq("x", 1 / 64, 121), rng)
    proto = builder.model(y)
    folded = integer_graph(ir.from_proto(proto))
    assert op_types(folded)[-1] == op_type
    assert folded.graph.outputs[0].name == y
    x = rng.normal(0, 0.8, shape).astype(np.float32)
    (expected,), (actual,) = run_reference(proto, {"x": x}), run_integers(folded, {"x": x})
    # Nothing but float32 roundings: of each of onnxruntime's up to 80 products and sums.
    bound = 80 * 2.0**-24 * max(np.abs(expected).max(), 20)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=bound)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_conv_of_any_geometry(data: st.DataObject) -> None:
    draw: Callable[[Any], Any] = data.draw
    group, depth, outs = (draw(st.integers(1, 3)) for _ in range(3))
    kernel, strides, dilations = (
        draw(st.lists(st.integers(1, 3), min_size=2, max_size=2)) for _ in range(3)
    )
    pads = draw(st.lists(st.integers(0, 2), min_size=4, max_size=4))
    low, high = sorted(draw(st.tuples(st.floats(-3, 3), st.floats(-3, 3))))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    builder = Builder((1, group * depth, 9, 8), draw(st.sampled_from([np.uint8, np.int8])))
    lowest = np.iinfo(builder.dtype).min
    w = rng.integers(-128, 128, (group * outs, depth, *kernel)).astype(np.int8)
    x = builder.qdq("x", 0.02, lowest + draw(st.integers(0, 255)))
    y = builder.node(
        "Conv",
        [x, builder.weight(w, rng.uniform(0.001, 0.02, group * outs))],
        group=group,
        strides=strides,
        dilations=dilations,
        pads=pads,
    )
    bounds = [builder.constant(f"bound{i}", np.float32(b)) for i, b in enumerate((low, high))]
    y = builder.node("Clip", [y, *bounds])
    proto = builder.model(builder.qdq(y, 0.031, lowest + draw(st.integers(0, 255))))
    folded = integer_graph(ir.from_proto(proto))
    assert op_types(folded) == ["QuantizeLinear", "QConv", "DequantizeLinear"]
    values = rng.uniform(-6, 6, builder.x_shape).astype(np.float32)
    assert steps_apart(proto, folded, values, 0.031).max() <= 1


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_average_pool_of_any_geometry(data: st.DataObject) -> None:
    draw: Callable[[Any], Any] = data.draw
    kernel, dilations = (
        draw(st.lists(st.integers(1, most), min_size=2, max_size=2)) for most in (3, 2)
    )
    strides = [draw(st.integers(1, size)) for size in kernel]
    pads = [draw(st.integers(0, kernel[axis] - 1)) for axis in (0, 1, 0, 1)]
    ceil_mode = draw(st.integers(0, 1))
    if ceil_mode:  # else a window may begin behind the image: see the next test
        pads[2:] = [0, 0]
    builder = Builder((2, 3, draw(st.integers(5, 9)), draw(st.integers(5, 9))))
    y = builder.node(
        "AveragePool",
        [builder.qdq("x", 0.02, draw(st.integers(0, 255)))],
        kernel_shape=kernel,
        strides=strides,
        dilations=dilations,
        pads=pads,
        ceil_mode=ceil_mode,
        count_include_pad=draw(st.integers(0, 1)),
    )
    proto = builder.model(builder.qdq(y, 0.013, draw(st.integers(0, 255))))
    folded = integer_graph(ir.from_proto(proto))
    assert op_types(folded) == ["QuantizeLinear", "QAveragePool", "DequantizeLinear"]
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    values = rng.uniform(-3, 3, builder.x_shape).astype(np.float32)
    assert steps_apart(proto, folded, values, 0.013).max() <= 1


def test_a_window_behind_the_image_stays_float() -> None:
    """Shape inference counts four rows here, onnxruntime three."""
    builder = Builder((1, 1, 6, 5))
    x = builder.qdq("x", 0.02, 3)
    geometry = {"kernel_shape": [2, 1], "strides": [2, 1], "pads": [0, 0, 1, 0]}
    y = builder.node("AveragePool", [x], ceil_mode=1, count_include_pad=1, **geometry)
    model = integer_graph(ir.from_proto(builder.model(builder.qdq(y, 0.013, 5))))
    assert "AveragePool" in op_types(model)


def test_constants_survive() -> None:
    rng = np.random.default_rng(2)
    builder = Builder(IMAGE, np.int8)
    proto = builder.model(
        builder.qdq(conv(builder, builder.qdq("x", 1 / 64, 3), rng), 0.05, 9)
    )
    model = integer_graph(ir.from_proto(proto))
    node = next(node for node in model.graph if node.op_type == "QConv")
    arrays = [value.const_value for value in node.inputs[1:] if value is not None]
    w, bias, multiplier = (array.numpy() for array in arrays if array is not None)
    weights = {
        a.dtype.name: a for a in builder.initializers.values() if a.ndim and a.size > 16
    }
    biases = [a for a in builder.initializers.values() if a.dtype == np.int32 and a.any()]
    np.testing.assert_array_equal(w, weights["int8"])
    np.testing.assert_array_equal(bias, biases[0])
    assert multiplier.dtype == np.float32
    assert multiplier.shape == (16,)
    assert node.attributes["x_zero_point"].as_int() == 131
    assert node.attributes["y_zero_point"].as_int() == 137
    assert node.outputs[0].dtype == ir.DataType.UINT8
    assert node.outputs[0].metadata_props[ZERO_POINT] == "137"
    assert node.outputs[0].metadata_props[SCALE] == repr(float(np.float32(0.05)))


DESCRIBED = """g (int8[1,2,4,4] x) => (int8[1,8] y)
    <float s = {0.5}, float t = {0.25}, int8 z = {3}, int64[2] shape = {1, 8}>
    { d = DequantizeLinear(x, s, z)
      m = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(d)  r = Relu(m)
      f = Reshape(r, shape)  y = QuantizeLinear(f, t, z) }"""


def test_a_bias_on_another_scale_is_rounded_to_its_own() -> None:
    builder = Builder((1, 2))
    w = builder.weight(np.ones((2, 3), np.int8), 0.25)
    b = builder.weight(np.array([7, -1, 2**20], np.int32), 0.375)
    y = builder.node("Gemm", [builder.qdq("x", 0.5, 0), w, b])
    model = integer_graph(ir.from_proto(builder.model(y)))
    node = next(node for node in model.graph if node.op_type == "QMatMul")
    bias = node.inputs[2]
    assert bias is not None
    assert bias.const_value is not None
    assert bias.const_value.numpy().tolist() == [21, -3, 3 * 2**20]


def test_every_integer_activation_is_described() -> None:
    model = integer_graph(typed(DESCRIBED), S8_TARGET)
    values = [*model.graph.inputs, *(value for node in model.graph for value in node.outputs)]
    assert op_types(model) == ["MaxPool", "QLut", "Reshape"]
    assert [value.metadata_props[SCALE] for value in values] == ["0.5", "0.5", "0.25", "0.25"]


STAYS = {
    "not quantized": ("Relu(x)", "its input 0 is not quantized"),
    "no kernel": ("Hardmax(d)", "no integer kernel for Hardmax"),
    "weight in float": ("MatMul(d, f)", "its weight is not quantized"),
    "weight with a zero point": ("MatMul(d, wz)", "a zero point that int8 cannot absorb"),
    "weight of 16 bits": ("MatMul(d, w16)", "its weight is INT16, the kernels take 8 bits"),
    "scales along K": ("MatMul(d, wk)", "its weight has scales along axis 0, not 1"),
    "alpha": ("Gemm<alpha = 0.5>(d, f)", "its alpha is not 1"),
    "transA": ("Gemm<transA = 1>(d, f)", "its transA is not 0"),
    "two slopes a channel": ("PRelu(d, f)", "PRelu has no integer form"),
    "division by another": ("Div(d, f)", "Div has no integer form"),
    "tail": ("Sigmoid(d)", "its output is not quantized"),
    "concat of two scales": ("Concat<axis = 0>(d, x)", "its inputs are not quantized"),
}


@pytest.mark.parametrize("name", STAYS)
def test_stays_float_with_a_reason(name: str) -> None:
    call, reason = STAYS[name]
    size = "8" if "Concat" in call else "4"
    model = integer_graph(
        typed(f"""g (float[4,4] x) => (float[{size},4] y)
        <float s = {{0.5}}, uint8 z = {{3}},
         float[4,4] f = {{1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1}},
         uint8[4,4] u = {{1,1,1,1,1,1,1,1,1,1,1,1,1,1,255,1}},
         int16[4,4] h = {{1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1}}, int16 hz = {{0}},
         int8[4,4] i = {{1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1}}, float[4] t = {{1, 1, 1, 2}}>
        {{ wz = DequantizeLinear(u, s, z)  w16 = DequantizeLinear(h, s, hz)
           wk = DequantizeLinear<axis = 0>(i, t)
           q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)  y = {call} }}""")
    )
    node = model.graph.outputs[0].producer()
    assert node is not None
    assert reason in node.metadata_props[FLOAT_REASON]
    assert not FoldQdq(U8_TARGET)(model).modified


def test_affine_integers_on_a_symmetric_target() -> None:
    model = typed("""g (float[2] x) => (float[2] y) <float s = {0.5}, int8 z = {3}>
        { q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)  r = Relu(d)
          p = QuantizeLinear(r, s, z)  y = DequantizeLinear(p, s, z) }""")
    symmetric = target(dataclasses.replace(S8_AFFINE, symmetric=True))
    relu = next(n for n in integer_graph(model, symmetric).graph if n.op_type == "Relu")
    assert (
        relu.metadata_props[FLOAT_REASON] == "test-int8 takes no int8 with zero point 3 here"
    )


def test_config_keeps_an_operator_float() -> None:
    builder = Builder(IMAGE)
    y = conv(builder, builder.qdq("x", 1 / 64, 121), np.random.default_rng(3))
    model = ir.from_proto(builder.model(builder.qdq(y, 0.05, 9)))
    integer_graph(model, config=CompileConfig(float_ops=("Conv",)))
    node = next(node for node in model.graph if node.op_type == "Conv")
    assert node.metadata_props[FLOAT_REASON] == "the config keeps Conv in float"


def test_a_residual_in_float_leaves_the_convolution_alone() -> None:
    builder = Builder((1, 8, 4, 4))
    w = builder.weight(np.ones((8, 8, 1, 1), np.int8), 0.005)
    y = builder.node("Conv", [builder.qdq("x", 1 / 64, 121), w])
    proto = builder.model(builder.qdq(builder.node("Add", [y, "x"]), 0.05, 9))
    model = integer_graph(ir.from_proto(proto))
    kinds = ["QuantizeLinear", "QConv", "Add", "QuantizeLinear", "DequantizeLinear"]
    assert op_types(model) == kinds
    assert FLOAT_REASON in list(model.graph)[2].metadata_props


def test_two_scales_of_one_output() -> None:
    builder = Builder(IMAGE)
    y = conv(builder, builder.qdq("x", 1 / 64, 121), np.random.default_rng(4))
    s = builder.node("Relu", [builder.qdq("x", 1 / 64, 121)])
    outputs = [builder.qdq(value, scale, 9) for value in (y, s) for scale in (0.05, 0.02)]
    proto = builder.model(*outputs)
    model = integer_graph(ir.from_proto(proto))
    assert sorted(set(op_types(model))) == [
        "DequantizeLinear",
        "QConv",
        "QLut",
        "QuantizeLinear",
    ]
    assert op_types(model).count("QConv") == 1
    x = np.random.default_rng(5).normal(0, 0.8, IMAGE).astype(np.float32)
    pairs = zip(run_reference(proto, {"x": x}), run_integers(model, {"x": x}), strict=True)
    for (expected, actual), scale in zip(pairs, (0.05, 0.02) * 2, strict=True):
        assert np.abs(expected - actual).max() <= scale * 1.001  # one step, and its rounding


def overflowing(values: Iterable[int], bias: float) -> ir.Model:
    builder = Builder((1, 2))
    w = builder.weight(np.array([list(values)] * 2, np.int8).T, np.full(2, 1e-6), axis=1)
    b = builder.constant("b", np.array([0, bias], np.float32))
    y = builder.node("Gemm", [builder.qdq("x", 1e-6, 0), w, b])
    return ir.from_proto(builder.model(y))


def test_an_overflow_names_node_and_channel() -> None:
    with pytest.raises(
        CompileError, match=r"node 'gemm\d+': the bias of channel 1 may reach"
    ) as error:
        integer_graph(overflowing([1, 1], 1.0))
    assert "nodes.'gemm" in error.value.hint
    with pytest.raises(CompileError, match="the accumulator of channel 1 may reach"):
        integer_graph(overflowing([127, 127], 2147.48e-6))


@pytest.mark.parametrize("op_type", ["Conv", "Gemm"])
def test_weights_that_overflow_and_cannot_matter_are_dropped(op_type: str) -> None:
    """As onnxruntime quantizes a nearly dead channel: a scale so small the bias just fits."""
    weights = np.array([[127] * 3, [127] * 3], np.int8)
    scales = np.array([0.5, 1e-9])
    bias = np.array([-7, 2**31 - 200], np.int32)
    builder = Builder((1, 3, 1, 1) if op_type == "Conv" else (1, 3))
    shape = (2, 3, 1, 1) if op_type == "Conv" else (2, 3)
    w = builder.weight(weights.reshape(shape), scales, axis=0)
    b = builder.weight(bias, scales * 0.5)
    attributes = {} if op_type == "Conv" else {"transB": 1}
    y = builder.node(op_type, [builder.qdq("x", 0.5, 3), w, b], **attributes)
    proto = builder.model(builder.qdq(y, 0.25, 10))
    model = integer_graph(ir.from_proto(proto))
    x = np.array([-1.5, 100, 7], np.float32).reshape(builder.x_shape)
    assert steps_apart(proto, model, x, 0.25).max() == 0
    node = next(node for node in model.graph if node.op_type in ("QConv", "QMatMul"))
    assert node.inputs[1] is not None
    assert node.inputs[1].const_value is not None
    left = node.inputs[1].const_value.numpy()
    assert np.count_nonzero(left) == 3, "those of channel 0"


def test_a_channel_without_weights_gets_room_for_its_bias() -> None:
    model = integer_graph(overflowing([0, 0], 1.0))
    (y,) = run_integers(model, {"x": np.zeros((1, 2), np.float32)})
    assert y.tolist() == [[0.0, 1.0]]


def test_folding_twice_changes_nothing() -> None:
    builder = Builder(IMAGE)
    y = residual(builder, builder.qdq("x", 1 / 64, 121), np.random.default_rng(6))
    model = integer_graph(ir.from_proto(builder.model(builder.qdq(y, 0.05, 9))))
    assert not FoldQdq(U8_TARGET)(model).modified


def test_a_residual_that_was_folded_itself_meanwhile() -> None:
    model = integer_graph(
        typed("""g (float[2,2] x) => (float[2,2] y, float[2,2] s)
        <float c = {0.5}, uint8 z = {3}, int8[2,2] i = {1, 2, 3, 4}, int8 o = {0}>
        { w = DequantizeLinear(i, c, o)
          q = QuantizeLinear(x, c, z)  d = DequantizeLinear(q, c, z)
          a = MatMul(d, w)  s = Add(a, d)  b = MatMul(d, w)  y = Add(b, s) }""")
    )
    assert op_types(model).count("QMatMul") == 2
    x = {"x": np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)}
    (y, s) = run_integers(model, x)
    np.testing.assert_array_equal(s, x["x"] @ np.array([[0.5, 1.0], [1.5, 2.0]]) + x["x"])
    np.testing.assert_array_equal(y, 2 * s - x["x"])
