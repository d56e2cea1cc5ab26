from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcompile.errors import CompileError
from qcompile.oracle import run, run_node
from tests import scalars
from tests.graphs import graph as text_graph
from tests.nodes import (
    activation_types,
    draw_integers,
    draw_last_step,
    draw_multiplier,
    draw_zero_point,
    node,
    qnode,
    seeds,
)

Array = npt.NDArray[np.generic]
U8, S8 = ir.DataType.UINT8, ir.DataType.INT8
CASES = 60


def assert_as_scalars(
    scalar: Callable[[ir.Node, Sequence[Array | None]], Array],
    step: ir.Node,
    inputs: Sequence[Array | None],
) -> None:
    (y,) = run_node(step, inputs)
    expected = scalar(step, inputs)
    assert y.dtype == expected.dtype
    np.testing.assert_array_equal(y, expected)


def draw_bias(rng: np.random.Generator, channels: int) -> Array:
    bound = int(rng.choice([1, 2**10, 2**24, 2**31 - 2**22]))
    return np.asarray(rng.integers(-bound, bound, channels), np.int32)


small = st.integers(1, 3)
BROADCAST = [((2, 3, 4), (2, 3, 4)), ((2, 3, 4), (3, 1)), ((1, 5), (4, 1))]


@given(
    seed=seeds,
    dtype=activation_types,
    batch=st.integers(1, 2),
    group=st.sampled_from([1, 1, 2, 3]),
    depth=st.integers(1, 2),
    per_group=st.integers(1, 2),
    kernel=st.tuples(small, small),
    strides=st.tuples(small, small),
    dilations=st.tuples(small, small),
    pads=st.tuples(*[st.integers(0, 2)] * 4),
    room=st.tuples(*[st.integers(0, 3)] * 2),
    with_residual=st.booleans(),
)
@settings(max_examples=CASES)
def test_qconv(
    seed: int,
    dtype: ir.DataType,
    batch: int,
    group: int,
    depth: int,
    per_group: int,
    kernel: tuple[int, int],
    strides: tuple[int, int],
    dilations: tuple[int, int],
    pads: tuple[int, int, int, int],
    room: tuple[int, int],
    with_residual: bool,
) -> None:
    rng = np.random.default_rng(seed)
    filters = group * per_group
    spans = [(size - 1) * step + 1 for size, step in zip(kernel, dilations, strict=True)]
    sizes = [
        max(span - pads[axis] - pads[axis + 2], 1) + room[axis]
        for axis, span in enumerate(spans)
    ]
    inputs: list[Array] = [
        draw_integers(rng, (batch, group * depth, *sizes), dtype),
        draw_integers(rng, (filters, depth, *kernel), S8),
        draw_bias(rng, filters),
        draw_multiplier(rng, (filters,)),
    ]
    if with_residual:
        counts = [
            (sizes[axis] + pads[axis] + pads[axis + 2] - spans[axis]) // strides[axis] + 1
            for axis in range(2)
        ]
        inputs += [
            draw_integers(rng, (batch, filters, *counts), U8),
            draw_multiplier(rng, ()),
        ]
    step = qnode(
        "QConv",
        len(inputs),
        strides=list(strides),
        pads=list(pads),
        dilations=list(dilations),
        group=group,
        x_zero_point=draw_zero_point(rng, dtype),
        r_zero_point=draw_zero_point(rng, U8),
        **draw_last_step(rng),
    )
    assert_as_scalars(scalars.qconv, step, inputs)


@given(
    seed=seeds,
    dtype=activation_types,
    lead=st.lists(small, min_size=1, max_size=3),
    depth=st.integers(1, 40),
    columns=st.integers(1, 5),
    residual=st.sampled_from([None, "int8", "float32"]),
)
@settings(max_examples=CASES)
def test_qmatmul(
    seed: int,
    dtype: ir.DataType,
    lead: list[int],
    depth: int,
    columns: int,
    residual: str | None,
) -> None:
    rng = np.random.default_rng(seed)
    inputs: list[Array] = [
        draw_integers(rng, (*lead, depth), dtype),
        draw_integers(rng, (depth, columns), S8),
        draw_bias(rng, columns),
        draw_multiplier(rng, (columns,)),
    ]
    if residual == "int8":
        inputs += [draw_integers(rng, (*lead, columns), S8), draw_multiplier(rng, ())]
    elif residual == "float32":
        inputs.append(rng.normal(0, 50, (*lead, columns)).astype(np.float32))
    step = qnode(
        "QMatMul",
        len(inputs),
        x_zero_point=draw_zero_point(rng, dtype),
        r_zero_point=draw_zero_point(rng, S8),
        **draw_last_step(rng),
    )
    assert_as_scalars(scalars.qmatmul, step, inputs)


@given(
    seed=seeds,
    types=st.tuples(activation_types, activation_types),
    shapes=st.sampled_from(BROADCAST),
)
@settings(max_examples=CASES)
def test_qadd(
    seed: int,
    types: tuple[ir.DataType, ir.DataType],
    shapes: tuple[tuple[int, ...], tuple[int, ...]],
) -> None:
    rng = np.random.default_rng(seed)
    (a_type, b_type), (a_shape, b_shape) = types, shapes
    inputs: list[Array] = [
        draw_integers(rng, a_shape, a_type),
        draw_integers(rng, b_shape, b_type),
        draw_multiplier(rng, ()),
        draw_multiplier(rng, ()),
    ]
    step = qnode(
        "QAdd",
        4,
        a_zero_point=draw_zero_point(rng, a_type),
        b_zero_point=draw_zero_point(rng, b_type),
        **draw_last_step(rng),
    )
    assert_as_scalars(scalars.qadd, step, inputs)


@given(
    seed=seeds,
    dtype=activation_types,
    kernel=st.tuples(small, small),
    strides=st.tuples(small, small),
    dilations=st.tuples(small, small),
    pads=st.tuples(*[st.integers(0, 2)] * 4),
    room=st.tuples(*[st.integers(0, 3)] * 2),
    per_place=st.booleans(),
)
@settings(max_examples=CASES)
def test_qaveragepool(
    seed: int,
    dtype: ir.DataType,
    kernel: tuple[int, int],
    strides: tuple[int, int],
    dilations: tuple[int, int],
    pads: tuple[int, int, int, int],
    room: tuple[int, int],
    per_place: bool,
) -> None:
    rng = np.random.default_rng(seed)
    spans = [(size - 1) * step + 1 for size, step in zip(kernel, dilations, strict=True)]
    sizes = [span + extra for span, extra in zip(spans, room, strict=True)]
    x = draw_integers(rng, (2, 2, *sizes), dtype)
    step = qnode(
        "QAveragePool",
        2,
        kernel_shape=list(kernel),
        strides=list(strides),
        pads=list(pads),
        dilations=list(dilations),
        x_zero_point=draw_zero_point(rng, dtype),
        **draw_last_step(rng),
    )
    counts = scalars.window_counts(step, sizes) if per_place else (1, 1)
    assert_as_scalars(scalars.qaveragepool, step, [x, draw_multiplier(rng, counts)])


@given(seed=seeds, dtype=activation_types, axis=st.integers(-3, 2))
@settings(max_examples=CASES)
def test_qsoftmax(seed: int, dtype: ir.DataType, axis: int) -> None:
    rng = np.random.default_rng(seed)
    x = draw_integers(rng, tuple(rng.integers(1, 5, 3)), dtype)
    one = 2 ** int(rng.integers(1, 24))
    table = np.asarray(np.rint(one * np.exp(-np.arange(256) * rng.uniform(0, 0.2))), np.int32)
    multiplier = np.asarray(rng.choice([1.0, 256.0, 255.0, 1 / 0.00390625]), np.float32)
    step = qnode("QSoftmax", 3, axis=axis, **draw_last_step(rng))
    assert_as_scalars(scalars.qsoftmax, step, [x, table, multiplier])


@given(
    seed=seeds,
    x_type=activation_types,
    y_type=activation_types,
    axis=st.one_of(st.none(), st.integers(-3, 2)),
)
@settings(max_examples=30)
def test_qlut(seed: int, x_type: ir.DataType, y_type: ir.DataType, axis: int | None) -> None:
    rng = np.random.default_rng(seed)
    x = draw_integers(rng, (2, 3, 50), x_type)
    tables = (256,) if axis is None else (x.shape[axis], 256)
    step = qnode("QLut", 2) if axis is None else qnode("QLut", 2, axis=axis)
    assert_as_scalars(scalars.qlut, step, [x, draw_integers(rng, tables, y_type)])


@given(
    seed=seeds,
    types=st.tuples(activation_types, activation_types),
    shapes=st.sampled_from(BROADCAST),
)
@settings(max_examples=CASES)
def test_qmul(
    seed: int,
    types: tuple[ir.DataType, ir.DataType],
    shapes: tuple[tuple[int, ...], tuple[int, ...]],
) -> None:
    rng = np.random.default_rng(seed)
    inputs: list[Array] = [
        *(draw_integers(rng, shape, kind) for shape, kind in zip(shapes, types, strict=True)),
        draw_multiplier(rng, ()),
    ]
    a_zero_point, b_zero_point = (draw_zero_point(rng, kind) for kind in types)
    step = qnode(
        "QMul",
        3,
        a_zero_point=a_zero_point,
        b_zero_point=b_zero_point,
        **draw_last_step(rng),
    )
    assert_as_scalars(scalars.qmul, step, inputs)


@given(
    seed=seeds,
    dtype=activation_types,
    axes=st.sets(st.integers(0, 2), min_size=1),
    keepdims=st.integers(0, 1),
)
@settings(max_examples=CASES)
def test_qreducesum(seed: int, dtype: ir.DataType, axes: set[int], keepdims: int) -> None:
    rng = np.random.default_rng(seed)
    x = draw_integers(rng, tuple(rng.integers(1, 6, 3)), dtype)
    step = qnode(
        "QReduceSum",
        2,
        axes=sorted(axes),
        keepdims=keepdims,
        x_zero_point=draw_zero_point(rng, dtype),
        **draw_last_step(rng),
    )
    assert_as_scalars(scalars.qreducesum, step, [x, draw_multiplier(rng, ())])


def test_the_largest_sums_are_exact() -> None:
    """2**31 - 1 and -2**31 are reached to the unit: float32 sums would miss it."""
    depth = 65_000
    x, w = np.full((1, depth), 255, np.uint8), np.full((depth, 2), 127, np.int8)
    w[:, 1] = -128
    bias = np.array([2**31 - 1 - depth * 255 * 127, -(2**31) + depth * 255 * 128], np.int32)
    step = qnode(
        "QMatMul", 4, x_zero_point=0, y_dtype=1, y_zero_point=0, lo=-np.inf, hi=np.inf
    )
    (y,) = run_node(step, [x, w, bias, np.ones(2, np.float32)])
    np.testing.assert_array_equal(y, np.array([[2**31, -(2**31)]], np.float32))
    bias[0] += 1
    with pytest.raises(CompileError, match=r"'qmatmul': an acc.* reaches 2147483648, beyond"):
        run_node(step, [x, w, bias, np.ones(2, np.float32)])


def test_a_residual_is_added_before_any_rounding() -> None:
    """A float output shows it: product and sum are one fma, not two operations."""
    rng = np.random.default_rng(3)
    x, w = draw_integers(rng, (8, 5), U8), draw_integers(rng, (5, 6), S8)
    multiplier = rng.uniform(0.001, 0.002, 6).astype(np.float32)
    residual, factor = draw_integers(rng, (8, 6), U8), np.array(0.0237, np.float32)
    bias = np.zeros(6, np.int32)
    step = qnode(
        "QMatMul",
        6,
        x_zero_point=3,
        r_zero_point=77,
        y_dtype=1,
        y_zero_point=0,
        lo=-np.inf,
        hi=np.inf,
    )
    inputs = [x, w, bias, multiplier, residual, factor]
    assert_as_scalars(scalars.qmatmul, step, inputs)
    acc = ((x.astype(int) - 3) @ w.astype(int)).astype(np.float32)
    rounded_often = acc * multiplier + (residual.astype(np.float32) - 77) * factor
    assert (run_node(step, inputs)[0] != rounded_often).mean() > 0.05


# --- whole graphs


TWO_STEPS = """
< ir_version: 10, opset_import: ["" : 21, "qcompile" : 1] >
g (float[1, 4] x) => (float[1, 4] y, int8[4, 1] moved)
<float s = {0.5}, uint8 z = {10}, int8[256] table>
{ q = QuantizeLinear(x, s, z)
  l = qcompile.QLut(q, table)
  moved = Transpose(l)
  d = DequantizeLinear(l, s)
  y = Asinh(d) }
"""


def two_steps() -> ir.Model:
    entries = ", ".join(str(entry) for entry in np.arange(256).astype(np.int8))
    return ir.from_onnx_text(
        TWO_STEPS.replace("int8[256] table", f"int8[256] table = {{{entries}}}")
    )


def test_a_graph_from_end_to_end() -> None:
    x = np.array([[0.0, 1.0, -100.0, 1000.0]], np.float32)
    answer = run(two_steps(), {"x": x})
    assert list(answer) == ["y", "moved"]
    np.testing.assert_array_equal(answer["moved"], [[10], [12], [0], [-1]])
    expected = np.arcsinh(np.array([[5, 6, 0, -0.5]], np.float32))
    # A float island: onnxruntime's Asinh and NumPy's agree to a few units in the last place.
    y = answer["y"].astype(np.float32)
    np.testing.assert_allclose(y, expected, rtol=4 * 2.0**-23)


def test_every_value() -> None:
    x = np.zeros((1, 4), np.float32)
    answer = run(two_steps(), {"x": x}, every_value=True)
    assert set(answer) == {"q", "l", "moved", "d", "y"}
    np.testing.assert_array_equal(answer["q"], np.full((1, 4), 10, np.uint8))
    few = run(two_steps(), {"x": x})
    for name in few:
        np.testing.assert_array_equal(few[name], answer[name])


def test_a_graph_output_that_is_an_input_or_a_constant() -> None:
    model = ir.from_onnx_text(
        """< ir_version: 10, opset_import: ["" : 21] >
        g (float[2] x) => (float[2] x, float[2] c) <float[2] c = {1, 2}> { u = Relu(x) }"""
    )
    answer = run(model, {"x": np.array([3, 4], np.float32)})
    np.testing.assert_array_equal(answer["x"], [3, 4])
    np.testing.assert_array_equal(answer["c"], [1, 2])


@pytest.mark.parametrize(("flag", "expected"), [(True, [5.0, 7.0]), (False, [-2.0, -3.0])])
def test_a_float_island_with_sub_graphs(flag: bool, expected: list[float]) -> None:
    model = ir.from_onnx_text(
        """< ir_version: 10, opset_import: ["" : 21] >
        g (bool flag, float[2] x) => (float[2] y) <float[2] c = {3, 4}>
        { n = Neg(x)  t = Identity(x)
          y = If (flag) <then_branch = a () => (float[2] p) { p = Add(t, c) },
                         else_branch = b () => (float[2] e) { e = Identity(n) }> }"""
    )
    x = np.array([2, 3], np.float32)
    np.testing.assert_array_equal(run(model, {"flag": np.array(flag), "x": x})["y"], expected)


def test_an_absent_output_of_a_float_island() -> None:
    model = ir.from_onnx_text(
        """< ir_version: 10, opset_import: ["" : 21] >
        g (float[1,1,1] x) => (float[1,1,1] h) <float[1,1,1] w = {2}, float[1,1,1] r = {0}>
        { , h = RNN <hidden_size = 1, activations = ["Relu"]> (x, w, r) }"""
    )
    assert run(model, {"x": np.full((1, 1, 1), 3, np.float32)})["h"].tolist() == [[[6]]]


# --- what it refuses


UNKNOWN = {
    "qcompile": ("y = qcompile.QFancy(x)", "no operator QFancy of the domain qcompile"),
    "other domain": ("y = other.Fancy(x)", "no operator Fancy of the domain other"),
    "standard": ("y = Fancy(x)", "the oracle has no operator Fancy"),
    "attribute": ("y = qcompile.QSoftmax(x, x, x)", "QSoftmax lacks the attribute y_dtype"),
    "sub-graph": (
        """y = If (f) <then_branch = a () => (uint8[1] p) { p = qcompile.QLut(x, x) },
                       else_branch = b () => (uint8[1] q) { q = Identity(x) }>""",
        "QLut inside a sub-graph",
    ),
}


@pytest.mark.parametrize(("body", "problem"), UNKNOWN.values(), ids=UNKNOWN)
def test_unknown_operators_are_refused_before_anything_runs(body: str, problem: str) -> None:
    model = ir.from_onnx_text(
        '< ir_version: 10, opset_import: ["" : 21, "qcompile" : 1, "other" : 1] >'
        "g (bool f, uint8[1] x) => (uint8[1] y) { " + body + " }"
    )
    for each in ir.traversal.RecursiveGraphIterator(model.graph):
        each.name = f"step {each.op_type}"
    with pytest.raises(CompileError, match=problem) as caught:
        run(model, {})  # not even the missing inputs are looked at
    assert caught.value.where.startswith("node 'step ")


WRONG_INPUTS: dict[str, tuple[dict[str, Array], str]] = {
    "missing": ({"z": np.zeros(1)}, "input 'x': no array given\n  hint: given: z"),
    "nothing": ({}, "input 'x': no array given\n  hint: given: nothing"),
    "type": ({"x": np.zeros((1, 4))}, "input 'x': got float64, it takes float32"),
    "rank": (
        {"x": np.zeros(4, np.float32)},
        r"input 'x': got shape \(4,\), it takes \[1, 4\]",
    ),
    "size": ({"x": np.zeros((1, 5), np.float32)}, r"input 'x': got shape \(1, 5\), it takes"),
}


@pytest.mark.parametrize(("inputs", "problem"), WRONG_INPUTS.values(), ids=WRONG_INPUTS)
def test_wrong_inputs(inputs: dict[str, Array], problem: str) -> None:
    with pytest.raises(CompileError, match=problem):
        run(two_steps(), inputs)


def test_a_missing_input_of_a_node() -> None:
    with pytest.raises(CompileError, match="node 'qlut': QLut lacks its input 1"):
        run_node(qnode("QLut", 1), [np.zeros(3, np.uint8)])


def test_what_onnxruntime_does_not_take() -> None:
    with pytest.raises(
        CompileError, match=r"node 'relu': onnxruntime cannot run Relu.*\n.*hint"
    ):
        run_node(node("Relu", 1), [np.zeros(3, np.uint16)])


def test_float64_says_float32() -> None:
    x = np.ones((1, 1, 2, 2))
    with pytest.raises(CompileError, match=r"cannot run Conv: .*\n  hint: .*in float32"):
        run_node(node("Conv", 2), [x, x])


def test_a_small_sigmoid_is_right_to_the_last_bits() -> None:
    model = text_graph("g (float[3] x) => (float[3] y) { y = Sigmoid(x) }")
    x = np.array([-10.0, -30.0, 0.5], np.float32)
    (y,) = run(model, {"x": x}).values()
    np.testing.assert_array_equal(
        y, (1 / (1 + np.exp(-x.astype(np.float64)))).astype(np.float32)
    )
