from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx
import onnx.reference
import onnx_ir as ir
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from qcompile.oracle import run_node
from tests import scalars
from tests.nodes import Attribute, activation_types, draw_integers, node, seeds

Array = npt.NDArray[np.generic]
small = st.integers(1, 3)


def reference(step: ir.Node, inputs: Sequence[Array | None]) -> Array:
    """What ONNX's own reference implementation answers."""
    proto = ir.to_proto(step)
    for index, array in enumerate(inputs):
        proto.input[index] = "" if array is None else f"x{index}"
    del proto.output[:]
    proto.output.append("y")
    feeds = {f"x{index}": array for index, array in enumerate(inputs) if array is not None}
    make_type = onnx.helper.np_dtype_to_tensor_dtype
    graph = onnx.helper.make_graph(
        [proto],
        "step",
        [
            onnx.helper.make_tensor_value_info(name, make_type(array.dtype), array.shape)
            for name, array in feeds.items()
        ],
        [onnx.ValueInfoProto(name="y")],
    )
    opset = onnx.helper.make_opsetid("", 21)
    model = onnx.helper.make_model(graph, opset_imports=[opset])
    (y,) = onnx.reference.ReferenceEvaluator(model).run(None, feeds)
    return np.asarray(y)


def ints(*numbers: int) -> Array:
    return np.array(numbers, np.int64)


def cube(dtype: npt.DTypeLike = np.int8) -> Array:
    return np.arange(2 * 3 * 4).reshape(2, 3, 4).astype(dtype)


MOVES: dict[str, tuple[str, list[Array | None], dict[str, Attribute]]] = {
    "concat": ("Concat", [cube(), cube(), cube()], {"axis": 1}),
    "concat from the back": ("Concat", [cube(), cube()], {"axis": -1}),
    "reshape": ("Reshape", [cube(), ints(4, 6)], {}),
    "reshape 0 and -1": ("Reshape", [cube(), ints(0, -1, 2)], {}),
    "reshape allowzero": ("Reshape", [cube()[:, :0], ints(0, 7)], {"allowzero": 1}),
    "flatten": ("Flatten", [cube()], {}),
    "flatten all": ("Flatten", [cube()], {"axis": 0}),
    "flatten from the back": ("Flatten", [cube()], {"axis": -1}),
    "flatten none": ("Flatten", [cube()], {"axis": 3}),
    "transpose": ("Transpose", [cube()], {"perm": [2, 0, 1]}),
    "transpose without perm": ("Transpose", [cube()], {}),
    "squeeze": ("Squeeze", [cube()[:, :1], ints(-2)], {}),
    "squeeze all": ("Squeeze", [cube()[:1, :1]], {}),
    "unsqueeze": ("Unsqueeze", [cube(), ints(0, -1)], {}),
    "pad": ("Pad", [cube(), ints(0, 1, 2, 1, 0, 3)], {}),
    "pad with a value": ("Pad", [cube(), ints(0, 1, 2, 1, 0, 3), np.array(-7, np.int8)], {}),
    "pad some axes": ("Pad", [cube(), ints(1, 2, 3, 4), None, ints(2, -3)], {}),
    "pad by reflection": ("Pad", [cube(), ints(0, 1, 2, 0, 0, 3)], {"mode": "reflect"}),
    "where": ("Where", [cube() % 3 == 0, cube(), cube()[::-1]], {}),
    "where of one number": ("Where", [cube() % 5 == 0, cube(), np.array(5, np.int8)], {}),
    "where by rows": ("Where", [cube()[0, :, :1] % 8 == 0, cube(), cube()[:, :1]], {}),
    "reduce max": ("ReduceMax", [cube() % 7], {}),
    "reduce max of an axis": ("ReduceMax", [cube() % 7, ints(-2)], {"keepdims": 0}),
    "reduce min of axes": ("ReduceMin", [cube() % 7 - 3, ints(2, 0)], {}),
    "reduce min of nothing": ("ReduceMin", [cube(), ints()], {"noop_with_empty_axes": 1}),
    "identity": ("Identity", [cube()], {}),
    "float": ("Transpose", [cube(np.float32)], {}),
}


@pytest.mark.parametrize(("op_type", "inputs", "attributes"), MOVES.values(), ids=MOVES)
def test_move(
    op_type: str, inputs: list[Array | None], attributes: dict[str, Attribute]
) -> None:
    step = node(op_type, len(inputs), **attributes)
    (y,) = run_node(step, inputs)
    expected = reference(step, inputs)
    assert y.dtype == expected.dtype
    np.testing.assert_array_equal(y, expected)


@given(seed=seeds, count=st.integers(1, 3), spelled=st.integers(0, 2))
@settings(max_examples=60)
def test_slice(seed: int, count: int, spelled: int) -> None:
    rng = np.random.default_rng(seed)
    axes = rng.permutation(3)[:count] if spelled else np.arange(count)
    steps = rng.choice([-3, -2, -1, 1, 2, 3], count) if spelled == 2 else np.ones(count, int)
    edges = rng.integers(-7, 8, (2, count))
    far = rng.random((2, count)) < 0.2
    edges = np.where(far, rng.choice([-(2**62), 2**62], (2, count)), edges)
    inputs = [cube(), edges[0], edges[1], axes, steps][: 3 + spelled]
    step = node("Slice", len(inputs))
    expected = cube()[np.ix_(*kept(cube().shape, edges, axes, steps))]
    np.testing.assert_array_equal(run_node(step, inputs)[0], expected)


def kept(sizes: tuple[int, ...], edges: Array, axes: Array, steps: Array) -> list[list[int]]:
    """Return the indices that ONNX's Slice keeps, by counting through every axis."""
    indices = [list(range(size)) for size in sizes]
    for start, end, axis, step in zip(
        *edges.tolist(), axes.tolist(), steps.tolist(), strict=True
    ):
        size = sizes[axis]
        start, end = (edge + size if edge < 0 else edge for edge in (start, end))
        lowest, highest = (0, size) if step > 0 else (-1, size - 1)
        at = min(max(start, max(lowest, 0)), highest)
        stop = min(max(end, lowest), highest)
        indices[axis] = list(range(at, stop, step))
    return indices


@given(
    seed=seeds,
    dtype=activation_types,
    kernel=st.tuples(small, small),
    strides=st.tuples(small, small),
    dilations=st.tuples(small, small),
    room=st.tuples(*[st.integers(0, 4)] * 2),
    ceil_mode=st.integers(0, 1),
    before=st.tuples(*[st.integers(0, 2)] * 2),
    after=st.tuples(*[st.integers(0, 2)] * 2),
)
@settings(max_examples=100)
def test_max_pool(
    seed: int,
    dtype: ir.DataType,
    kernel: tuple[int, int],
    strides: tuple[int, int],
    dilations: tuple[int, int],
    room: tuple[int, int],
    ceil_mode: int,
    before: tuple[int, int],
    after: tuple[int, int],
) -> None:
    # ONNX: padding is smaller than the window, so no window of an output is all padding.
    pads = [
        min(pad, size - 1)
        for pad, size in zip((*before, *after), (*kernel, *kernel), strict=True)
    ]
    sizes = [
        (size - 1) * step + 1 + extra
        for size, step, extra in zip(kernel, dilations, room, strict=True)
    ]
    step = node(
        "MaxPool",
        1,
        kernel_shape=list(kernel),
        strides=list(strides),
        dilations=list(dilations),
        pads=pads,
        ceil_mode=ceil_mode,
    )
    x = draw_integers(np.random.default_rng(seed), (2, 2, *sizes), dtype)
    counts = scalars.window_counts(step, sizes)
    seen = [scalars.window(step, x, (0, 0, *at)) for at in np.ndindex(counts)]
    assume(all(seen))  # a dilated tap beyond a ragged end can still leave one empty
    (y,) = run_node(step, [x])
    expected = scalars.max_pool(step, [x])
    assert y.dtype == x.dtype
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize(
    ("auto_pad", "pads"),
    [("SAME_UPPER", [0, 0, 1, 1]), ("SAME_LOWER", [1, 1, 0, 0]), ("VALID", [0, 0, 0, 0])],
)
def test_max_pool_with_auto_pad(auto_pad: str, pads: list[int]) -> None:
    x = draw_integers(np.random.default_rng(1), (1, 2, 5, 6), ir.DataType.UINT8)
    common: dict[str, Attribute] = {"kernel_shape": [2, 3], "strides": [2, 2]}
    (y,) = run_node(node("MaxPool", 1, auto_pad=auto_pad, **common), [x])
    explicit = node("MaxPool", 1, pads=pads, dilations=[1, 1], **common)
    assert y.dtype == np.uint8
    np.testing.assert_array_equal(y, scalars.max_pool(explicit, [x]))


def test_pad_that_cuts() -> None:
    (y,) = run_node(node("Pad", 2), [cube(), ints(0, -1, 2, 0, 0, -3)])
    np.testing.assert_array_equal(y, np.pad(cube()[:, 1:, :1], [(0, 0), (0, 0), (2, 0)]))


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_quantize_and_dequantize_per_axis(axis: int) -> None:
    x = np.linspace(-3, 3, 9, dtype=np.float32).reshape(3, 3)
    scale, zero = np.array([0.5, 0.25, 0.1], np.float32), np.array([1, 2, 3], np.int8)
    cases: list[tuple[ir.Node, Array]] = [
        (node("QuantizeLinear", 3, axis=axis), x),
        (node("DequantizeLinear", 3, axis=axis), np.arange(9).reshape(3, 3).astype(np.int8)),
    ]
    for step, value in cases:
        inputs: list[Array | None] = [value, scale, zero]
        (y,) = run_node(step, inputs)
        expected = reference(step, inputs)
        assert y.dtype == expected.dtype
        np.testing.assert_array_equal(y, expected)


def test_quantize_without_a_zero_point() -> None:
    x, scale = np.array([-1, 0.3, 0.5, 99], np.float32), np.array(0.25, np.float32)
    for attributes, dtype, expected in [
        ({}, np.uint8, [0, 1, 2, 255]),
        ({"output_dtype": int(ir.DataType.INT8)}, np.int8, [-4, 1, 2, 127]),
        ({"output_dtype": int(ir.DataType.INT16)}, np.int16, [-4, 1, 2, 396]),
    ]:
        (y,) = run_node(node("QuantizeLinear", 2, **attributes), [x, scale])
        assert y.dtype == dtype
        assert y.tolist() == expected


def test_dequantize_an_int32_bias() -> None:
    q, scale = np.array([2**31 - 1, -5], np.int32), np.array(0.5, np.float32)
    (y,) = run_node(node("DequantizeLinear", 2), [q, scale])
    assert y.dtype == np.float32
    assert y.tolist() == [2.0**30, -2.5]
