from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.reference
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcompile.unary import (
    UNARY_OPS,
    chain_function,
    live_range,
    requantize_table,
    tabulate,
    unary_function,
)
from tests import scalars

U8, S8 = ir.DataType.UINT8, ir.DataType.INT8
dtypes = st.sampled_from([U8, S8])
scales = st.floats(2.0**-20, 2.0**20, width=32)

WITH_ATTRIBUTES: list[tuple[str, dict[str, float | str]]] = [
    ("Celu", {"alpha": 2.5}),
    ("Elu", {"alpha": 0.3}),
    ("Gelu", {"approximate": "tanh"}),
    ("HardSigmoid", {"alpha": 0.3, "beta": 0.4}),
    ("LeakyRelu", {"alpha": 0.2}),
    ("Selu", {"alpha": 1.5, "gamma": 1.2}),
    ("Swish", {"alpha": 1.7}),
    ("ThresholdedRelu", {"alpha": 0.7}),
]

FLOAT32_CONSTANTS = {"Gelu", "HardSwish"}


def unary(op_type: str, attributes: dict[str, float | str] | None = None) -> ir.Node:
    return ir.node(op_type, [ir.val("x")], attributes=attributes or {}, name="unary")


def constant(name: str, number: float) -> ir.Value:
    return ir.val(name, const_value=ir.tensor(np.array(number, np.float32), name=name))


def reference(node: ir.Node, x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """What ONNX's own reference implementation answers, in float64."""
    proto = ir.to_proto(node)
    del proto.output[:]
    proto.output.append("y")
    real = onnx.TensorProto.DOUBLE
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            [proto],
            "unary",
            [onnx.helper.make_tensor_value_info("x", real, x.shape)],
            [onnx.helper.make_tensor_value_info("y", real, x.shape)],
        ),
        opset_imports=[onnx.helper.make_opsetid("", 24)],
    )
    with np.errstate(all="ignore"):
        (y,) = onnx.reference.ReferenceEvaluator(model).run(None, {"x": x})
    return np.asarray(y, np.float64)


@pytest.mark.parametrize(
    ("op_type", "attributes"), [*((op, {}) for op in sorted(UNARY_OPS)), *WITH_ATTRIBUTES]
)
def test_formula_is_what_onnx_defines(
    op_type: str, attributes: dict[str, float | str]
) -> None:
    node = unary(op_type, attributes)
    x = np.concatenate([np.linspace(-12, 12, 97), [-300.0, 300.0, 1e-9, -1e-9]])
    function = unary_function(node)
    assert function is not None
    with np.errstate(all="ignore"):
        y = function(x)
    # Two float64 evaluations of one formula: a few units in the last place of the largest
    # intermediate (1 here). A default such as 0.01 is float32 here and maybe float64 there:
    # 2**-24 relative. ONNX writes 1/6 and sqrt(2) in float32, which acts on |x| <= 4, before
    # these functions are straight: 4 * 2**-24 absolute. No table of 256 steps sees that.
    atol = 4 * 2.0**-24 if op_type in FLOAT32_CONSTANTS else 1e-14
    np.testing.assert_allclose(y, reference(node, x), rtol=2.0**-24, atol=atol)


def test_clip_bounds() -> None:
    x = np.array([-2.0, 0.5, 9.0])
    both = ir.node("Clip", [ir.val("x"), constant("low", 0.0), constant("high", 6.0)])
    upper = ir.node("Clip", [ir.val("x"), None, constant("high", 6.0)])
    for node, expected in [(both, [0, 0.5, 6]), (upper, [-2, 0.5, 6])]:
        function = unary_function(node)
        assert function is not None
        np.testing.assert_array_equal(function(x), expected)


@pytest.mark.parametrize(
    "node",
    [
        ir.node("Clip", [ir.val("x"), ir.val("computed")]),
        ir.node("Gelu", [ir.val("x")], attributes={"approximate": "other"}),
        ir.node("Relu", [ir.val("x")], domain="elsewhere"),
        ir.node("Add", [ir.val("x"), ir.val("y")]),
    ],
    ids=lambda node: f"{node.domain}{node.op_type}",
)
def test_not_a_known_function(node: ir.Node) -> None:
    assert unary_function(node) is None


def numbers(node: ir.Node) -> npt.NDArray[np.float64]:
    """What a node gives for a few numbers."""
    function = unary_function(node)
    assert function is not None
    return function(np.array([-2.0, 0.5, 3.0]))


def test_where_a_function_lives() -> None:
    swish = unary_function(unary("HardSwish"))
    assert swish is not None
    low, high = live_range(swish, -100.0, 10.0)
    assert -3.1 < low <= -3.0 + 0.1
    assert high == 10.0
    assert live_range(swish, -1.0, 1.0) == (-1.0, 1.0)
    assert live_range(np.zeros_like, -1.0, 1.0) == (-1.0, 1.0)
    sigmoid = unary_function(unary("Sigmoid"))
    assert sigmoid is not None
    low, high = live_range(sigmoid, -50.0, 50.0)
    assert low == pytest.approx(-high)
    assert 6.0 < high < 8.0


def test_a_binary_operator_with_a_scalar() -> None:
    x, two = ir.val("x", shape=[3]), constant("two", 2.0)
    assert numbers(ir.node("Sub", [x, two])).tolist() == [-4.0, -1.5, 1.0]
    assert numbers(ir.node("Sub", [two, x])).tolist() == [4.0, 1.5, -1.0]
    assert numbers(ir.node("Pow", [x, two])).tolist() == [4.0, 0.25, 9.0]
    assert numbers(ir.node("Mul", [x, x])).tolist() == [4.0, 0.25, 9.0]


def test_a_scalar_that_adds_axes_makes_no_function() -> None:
    deep = ir.val(
        "c", const_value=ir.tensor(np.ones((1, 1), np.float32), name="c"), shape=[1, 1]
    )
    assert unary_function(ir.node("Add", [ir.val("x", shape=[3]), deep])) is None
    assert (
        unary_function(ir.node("Add", [ir.val("x", shape=[3]), ir.val("z", shape=[3])]))
        is None
    )


def test_a_chain_is_one_function() -> None:
    x = ir.val("x", shape=[3])
    gate = ir.node("Sigmoid", [x])
    product = ir.node("Mul", [gate.outputs[0], x])
    silu = chain_function([gate, product], x)
    assert silu is not None
    np.testing.assert_array_equal(silu(np.array([0.0, 100.0])), [0.0, 100.0])
    other = ir.node("Mul", [gate.outputs[0], ir.val("z", shape=[3])])
    assert chain_function([gate, other], x) is None


def table(node: ir.Node, *grids: Any) -> npt.NDArray[np.generic]:
    """The table of a node that is a function of one number."""
    function = unary_function(node)
    assert function is not None
    return tabulate(function, *grids)


@pytest.mark.parametrize(("dtype", "lowest"), [(U8, 0), (S8, -128)])
def test_table_entry_by_entry(dtype: ir.DataType, lowest: int) -> None:
    entries = table(unary("LeakyRelu", {"alpha": 0.25}), 0.5, 3, dtype, 0.25, 100, U8)
    assert entries.dtype == np.uint8
    for index, entry in enumerate(entries.tolist()):
        x = (lowest + index - 3) * 0.5
        steps = round((x if x > 0 else 0.25 * x) / 0.25)  # every number here is exact
        assert entry == min(max(steps + 100, 0), 255)


def test_roots_logs_and_poles() -> None:
    roots = table(unary("Sqrt"), 1.0, 0, S8, 1.0, 7, U8)
    np.testing.assert_array_equal(roots[:128], 7, "the root of a negative counts as 0")
    logs = table(unary("Log"), 1.0, 0, U8, 0.1, 0, S8)
    assert logs[0] == -128
    assert logs[1] == 0
    poles = table(unary("Reciprocal"), 1.0, 0, U8, 1.0, 0, U8)
    assert poles[:3].tolist() == [255, 1, 0]
    assert table(unary("Exp"), 100.0, 0, U8, 1.0, 0, U8)[255] == 255


@given(scales, st.integers(0, 255), scales, st.integers(-128, 127), dtypes, dtypes)
@settings(max_examples=50)
def test_requantize_is_monotone_and_nearest(
    x_scale: float, x_zero: int, y_scale: float, y_zero: int, x: ir.DataType, y: ir.DataType
) -> None:
    x_zero -= 0 if x == U8 else 128
    y_zero += 128 if y == U8 else 0
    entries = requantize_table(x_scale, x_zero, x, y_scale, y_zero, y)
    assert entries.dtype == y.numpy()
    low, high = scalars.RANGES[y]
    steps = np.diff(entries.astype(int))
    assert (steps >= 0).all()
    q = np.arange(scalars.RANGES[x][0], scalars.RANGES[x][1] + 1)
    answers = entries.astype(float)
    inside = (answers > low) & (answers < high)
    error = (answers - y_zero) * y_scale - (q - x_zero) * x_scale
    # One rounding to the nearest step; float64's own rounding is a billionth of that.
    assert (np.abs(error[inside]) <= y_scale * (0.5 + 1e-9)).all()


@given(scales, st.integers(0, 255))
def test_requantize_to_the_same_is_the_identity(scale: float, zero: int) -> None:
    same = requantize_table(scale, zero, U8, scale, zero, U8)
    np.testing.assert_array_equal(same, np.arange(256))
    shifted = requantize_table(scale, zero, U8, scale, zero - 128, S8)
    np.testing.assert_array_equal(shifted, np.arange(-128, 128))
