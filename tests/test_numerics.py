from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qcompile.numerics import (
    accumulator_bounds,
    dequantize,
    finish,
    fma32,
    matmul,
    multiplier,
    quantize,
)
from tests import scalars

U8, S8, F32 = ir.DataType.UINT8, ir.DataType.INT8, ir.DataType.FLOAT
floats = st.floats(width=32, allow_nan=False, allow_infinity=False)
dtypes = st.sampled_from([U8, S8])


def f32(values: object) -> npt.NDArray[np.float32]:
    return np.array(values, np.float32)


def bits(x: object) -> int:
    return int(np.asarray(x, np.float32).view(np.int32))


def assert_fma(a: float, b: float, c: float) -> None:
    expected = scalars.fma(a, b, c)
    if expected == 0 and Fraction(a) * Fraction(b) + Fraction(c) < 0:
        expected = -0.0
    if Fraction(a) * Fraction(b) == 0 == c:
        sign = math.copysign(1, a) * math.copysign(1, b)
        expected = -0.0 if sign < 0 and math.copysign(1, c) < 0 else 0.0
    assert bits(fma32(a, b, c)) == bits(expected), (a, b, c)


@given(floats, floats, floats)
@example(1.0, 1.0, -1.0)
@example(-0.0, 1.0, -0.0)
@example(2.0**-149, 2.0**-149, -0.0)
@example(2.0**-149, 0.5, 0.0)
@example(2.0**-149, 0.75, 2.0**-149)
@example(2.0**-100, 2.0**-49, 1.0)
@example(-(2.0**-100), 2.0**-50, 1.0)
@example(float(np.finfo(np.float32).max), 1.0, 2.0**103)
@example(float(np.finfo(np.float32).max), 1.0, 2.0**102)
@example(2.0**127, 2.0, -(2.0**127))
@settings(max_examples=400)
def test_fma_rounds_once(a: float, b: float, c: float) -> None:
    assert_fma(a, b, c)


@given(floats, floats, st.integers(-3, 3), st.integers(-30, 30))
@settings(max_examples=200)
def test_fma_when_the_sum_cancels(a: float, b: float, steps: int, shift: int) -> None:
    c = -scalars.product(a, b)
    for _ in range(abs(steps)):
        c = float(np.nextafter(np.float32(c), np.float32(math.copysign(math.inf, steps))))
    if math.isfinite(c):
        assert_fma(a, b, c)
    shifted = scalars.to_float32(Fraction(c if math.isfinite(c) else 0) * Fraction(2) ** shift)
    if math.isfinite(shifted):
        assert_fma(a, b, shifted)


@given(
    st.integers(2**23, 2**24 - 1), st.integers(2**23, 2**24 - 1), st.sampled_from([-1, 0, 1])
)
def test_fma_meets_no_false_tie(a: int, c: int, tail: int) -> None:
    """c + 1/2 is a tie of float32; 2**-60 more or less decides it, beyond float64's reach."""
    assert_fma(float(c), 1.0, 0.5)
    assert_fma(1.0 + 2.0**-23, 0.5, float(c))
    assert_fma(a * 2.0**-40, a * tail * 2.0**-66, float(c))
    half = c + 0.5
    naive = np.float32(np.float64(half) + tail * 2.0**-60)
    assert naive == np.float32(half), "float64 alone loses the tail"


def test_fma_false_tie_by_hand() -> None:
    # (1 + 2**-12)**2 = 1 + 2**-11 + 2**-24: with c = 2**-60 it is just above a tie.
    a, c = 1 + 2.0**-12, 2.0**-60
    above = 1 + 2.0**-11 + 2.0**-23
    assert fma32(a, a, c) == np.float32(above)
    assert fma32(a, a, -c) == np.float32(1 + 2.0**-11)
    assert np.float32(np.float64(a) * a + c) == np.float32(1 + 2.0**-11), "rounded twice"


def test_fma_of_arrays_and_of_no_numbers() -> None:
    y = fma32([[1.0], [np.inf]], [0.0, 2.0], 1.0)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, np.array([[1, 3], [np.nan, np.inf]], np.float32))
    assert np.isnan(fma32(np.inf, 1.0, -np.inf))


@given(floats, dtypes, st.data())
def test_finish_is_round_then_clamp(t: float, dtype: ir.DataType, data: st.DataObject) -> None:
    low, high = scalars.RANGES[dtype]
    zero = data.draw(st.integers(low, high))
    lo = data.draw(st.integers(low, high))
    hi = data.draw(st.integers(lo, high))
    y = finish(f32([t]), y_dtype=dtype, zero_point=zero, lo=lo, hi=hi)
    assert y.dtype == dtype.numpy()
    assert int(y[0]) == min(max(round(Fraction(t)) + zero, lo), hi)


def test_finish_ties_to_even_and_bounds() -> None:
    t = f32([-1.5, -0.5, 0.5, 1.5, 2.5, 3e38, -3e38, np.inf, -np.inf, np.nan])
    y = finish(t, y_dtype=S8, zero_point=1, lo=-100, hi=100)
    np.testing.assert_array_equal(y, [-1, 1, 1, 3, 3, 100, -100, 100, -100, -100])


def test_finish_of_a_float_only_clamps() -> None:
    t = f32([-1.5, 0.25, 7.0])
    y = finish(t, y_dtype=F32, zero_point=9, lo=0.0, hi=6.0)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, f32([0, 0.25, 6]))
    kept = finish(t, y_dtype=F32, zero_point=0, lo=-math.inf, hi=math.inf)
    np.testing.assert_array_equal(kept, t)


@given(floats, st.floats(2.0**-40, 2.0**40, width=32), dtypes, st.data())
def test_quantize(x: float, scale: float, dtype: ir.DataType, data: st.DataObject) -> None:
    low, high = scalars.RANGES[dtype]
    zero = data.draw(st.integers(low, high))
    steps = scalars.quotient(x, scale)
    rounded = steps if math.isinf(steps) else round(Fraction(steps)) + zero
    q = quantize(f32([x]), scale, zero, dtype)
    assert q.dtype == dtype.numpy()
    assert int(q[0]) == min(max(rounded, low), high)


@pytest.mark.parametrize(("dtype", "zero"), [(U8, 200), (U8, 0), (S8, -128), (S8, 127)])
def test_quantize_what_is_no_number(dtype: ir.DataType, zero: int) -> None:
    low, high = scalars.RANGES[dtype]
    q = quantize(f32([np.nan, np.inf, -np.inf]), 0.5, zero, dtype)
    np.testing.assert_array_equal(q, [low, high, low])


def test_quantize_per_channel() -> None:
    x = f32([[1, 2], [1, 2]])
    q = quantize(x, f32([[1.0], [0.5]]), np.array([[0], [3]], np.int8), S8)
    np.testing.assert_array_equal(q, [[1, 2], [5, 7]])


@given(st.integers(0, 255), st.integers(0, 255), st.floats(2.0**-40, 2.0**40, width=32))
def test_dequantize_and_back(q: int, zero: int, scale: float) -> None:
    x = dequantize(np.array([q], np.uint8), scale, zero)
    assert float(x[0]) == scalars.product(q - zero, scale)
    # The product is off by half an ulp at most and the quotient again: far from half a step.
    assert quantize(x, scale, zero, U8)[0] == q


def test_multiplier_is_rounded_once() -> None:
    s_x, s_w, s_y = np.float32(0.1), f32(np.linspace(0.1, 1, 50)), np.float32(0.9)
    m = multiplier(s_x, s_w, s_y)
    assert m.dtype == np.float32
    exact = [
        Fraction(float(s_x)) * Fraction(float(each)) / Fraction(float(s_y)) for each in s_w
    ]
    np.testing.assert_array_equal(m, f32([scalars.to_float32(each) for each in exact]))
    assert (m != s_x * s_w / s_y).any(), "three float32 operations are something else"


@given(st.integers(0, 2**32 - 1), dtypes, st.sampled_from([0, -1]), st.booleans())
@settings(max_examples=50)
def test_accumulator_bounds_are_reached(
    seed: int, dtype: ir.DataType, axis: int, with_bias: bool
) -> None:
    rng = np.random.default_rng(seed)
    low, high = scalars.RANGES[dtype]
    zero = int(rng.integers(low, high + 1))
    w = rng.integers(-128, 128, (3, 4)).astype(np.int8)
    bias = rng.integers(-(2**20), 2**20, (w.shape[axis],)) if with_bias else None
    lowest, highest = accumulator_bounds(w, bias, zero, dtype, axis=axis)
    rows = w if axis == 0 else w.T
    for channel, row in enumerate(rows.tolist()):
        offset = int(bias[channel]) if bias is not None else 0
        # A linear function takes its extremes at the corners.
        corners = itertools.product((low, high), repeat=len(row))
        sums = [
            offset + sum((x - zero) * k for x, k in zip(corner, row, strict=True))
            for corner in corners
        ]
        assert (int(lowest[channel]), int(highest[channel])) == (min(sums), max(sums))


def test_accumulator_bounds_beyond_int32_do_not_wrap() -> None:
    w = np.full((1, 70_000), -128, np.int8)
    lowest, highest = accumulator_bounds(w, np.array([-1], np.int32), 0, U8)
    assert (int(lowest[0]), int(highest[0])) == (-1 - 70_000 * 128 * 255, -1)


def test_matmul_is_exact() -> None:
    a, b = np.full((1, 100_000), 255, np.uint8), np.full((100_000, 1), -128, np.int8)
    assert matmul(a, b).tolist() == [[-255 * 128 * 100_000]]
