"""The oracle's products of activations, number by number; dynamic ranges as onnxruntime's."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcompile.errors import CompileError
from qcompile.oracle import run_node
from tests import scalars
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
CASES = settings(max_examples=40, deadline=None)

BATCHES = st.sampled_from(
    [((), ()), ((2,), (2,)), ((2,), ()), ((), (3,)), ((2, 1), (3,)), ((1,), (2,))]
)
sizes = st.integers(1, 4)


@given(
    seed=seeds,
    a_type=activation_types,
    b_type=activation_types,
    batches=BATCHES,
    shape=st.tuples(sizes, sizes, sizes),
)
@CASES
def test_qbatchmatmul(
    seed: int,
    a_type: ir.DataType,
    b_type: ir.DataType,
    batches: tuple[tuple[int, ...], tuple[int, ...]],
    shape: tuple[int, int, int],
) -> None:
    rng, (rows, depth, columns) = np.random.default_rng(seed), shape
    inputs = [
        draw_integers(rng, (*batches[0], rows, depth), a_type),
        draw_integers(rng, (*batches[1], depth, columns), b_type),
        draw_multiplier(rng, ()),
    ]
    points = {"a": draw_zero_point(rng, a_type), "b": draw_zero_point(rng, b_type)}
    step = qnode(
        "QBatchMatMul",
        3,
        a_zero_point=points["a"],
        b_zero_point=points["b"],
        **draw_last_step(rng),
    )
    (y,) = run_node(step, inputs)
    np.testing.assert_array_equal(y, scalars.qbatchmatmul(step, inputs), strict=True)


@given(seed=seeds, x_type=activation_types, leading=st.sampled_from([(), (3,), (2, 2)]))
@CASES
def test_qdynamicmatmul(seed: int, x_type: ir.DataType, leading: tuple[int, ...]) -> None:
    rng = np.random.default_rng(seed)
    depth, columns = rng.integers(1, 6, 2)
    inputs = [
        draw_integers(rng, (*leading, depth), x_type),
        np.asarray(rng.uniform(0.01, 2), np.float32),
        np.asarray(draw_zero_point(rng, x_type), x_type.numpy()),
        draw_integers(rng, (depth, columns), ir.DataType.INT8),
        draw_multiplier(rng, (columns,)),
        (rng.standard_normal(columns) * 100).astype(np.float32),
    ]
    low = float(rng.choice([0.0, -np.inf]))
    step = qnode("QDynamicMatMul", 6, lo=low, hi=float("inf"))
    (y,) = run_node(step, inputs)
    np.testing.assert_array_equal(y, scalars.qdynamicmatmul(step, inputs), strict=True)


@given(seed=seeds, batches=BATCHES, shape=st.tuples(sizes, sizes, sizes))
@CASES
def test_qdynamicbatchmatmul(
    seed: int,
    batches: tuple[tuple[int, ...], tuple[int, ...]],
    shape: tuple[int, int, int],
) -> None:
    rng, (rows, depth, columns) = np.random.default_rng(seed), shape
    inputs: list[Array] = []
    for batch, matrix in zip(batches, ((rows, depth), (depth, columns)), strict=True):
        inputs += [
            draw_integers(rng, (*batch, *matrix), ir.DataType.UINT8),
            np.asarray(rng.uniform(0.01, 2), np.float32),
            np.asarray(draw_zero_point(rng, ir.DataType.UINT8), np.uint8),
        ]
    step = qnode("QDynamicBatchMatMul", 6)
    (y,) = run_node(step, inputs)
    np.testing.assert_array_equal(y, scalars.qdynamicbatchmatmul(step, inputs), strict=True)


def test_sums_beyond_int32_are_refused() -> None:
    wide = np.full((1, 34000), 255, np.uint8)
    points = {"a_zero_point": 0, "b_zero_point": 0, "y_zero_point": 0}
    step = qnode("QBatchMatMul", 3, y_dtype=1, lo=-np.inf, hi=np.inf, **points)
    with pytest.raises(CompileError, match="reaches 2210850000, beyond int32"):
        run_node(step, [wide, wide.T, np.array(1, np.float32)])


SPECIAL = {
    "zeros": [0.0, 0.0],
    "minus zero": [-0.0, 0.0],
    "one number": [3.25],
    "a positive constant": [1.0, 1.0],
    "negative only": [-1.0, -2.0],
    "beyond the largest range": [3e38, -3e38],
    "huge": [3e38, 0.0],
    "the least number": [1e-45, 0.0],
    "the least negative number": [-1e-45, 0.0],
    "subnormal": [1e-40, -1e-40],
    "subnormal scale": [1e-38, 3e-38],
    "not a number": [np.nan, 1.0, -1.0],
    "infinite": [np.inf, 1.0],
    "minus infinite": [-np.inf, 1.0],
    "a tie of the zero point": [-0.5, 254.5],
}


@pytest.fixture(scope="module")
def session() -> onnxruntime.InferenceSession:
    text = """<ir_version: 8, opset_import: ["" : 13]>
        g (float[N] x) => (uint8[N] y, float s, uint8 z)
        { y, s, z = DynamicQuantizeLinear(x) }"""
    return onnxruntime.InferenceSession(onnx.parser.parse_model(text).SerializeToString())


@pytest.mark.parametrize("numbers", SPECIAL.values(), ids=SPECIAL)
def test_special_ranges_are_onnxruntimes(
    numbers: list[float], session: onnxruntime.InferenceSession
) -> None:
    check_range(np.array(numbers, np.float32), session)


def test_ranges_are_onnxruntimes(session: onnxruntime.InferenceSession) -> None:
    rng = np.random.default_rng(0)
    for _ in range(1000):
        x = rng.standard_normal(rng.integers(1, 70)) * 10.0 ** rng.integers(-40, 38)
        check_range((x + rng.integers(-2, 3) * x.std()).astype(np.float32), session)


def check_range(x: Array, session: onnxruntime.InferenceSession) -> None:
    step = node("DynamicQuantizeLinear", 1)
    for mine, theirs in zip(run_node(step, [x]), session.run(None, {"x": x}), strict=True):
        np.testing.assert_array_equal(mine, theirs, strict=True)
