"""QuantSpec and QParams: ranges become scales, numbers become integers and come back."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from qcompile.quant import (
    MIN_SCALE,
    S8,
    S8_AFFINE,
    S8_PER_CHANNEL,
    U8,
    QParams,
    QuantSpec,
)

U8_SYMMETRIC = dataclasses.replace(U8, symmetric=True)
SPECS = [S8, S8_AFFINE, U8, U8_SYMMETRIC]
ends = st.floats(-1e30, 1e30)


@given(st.sampled_from(SPECS), ends, ends)
def test_a_range_is_covered_to_half_a_step_and_zero_is_exact(
    spec: QuantSpec, low: float, high: float
) -> None:
    assume(low <= high)
    qparams = QParams.from_range(spec, low, high)
    x = np.linspace(low, high, 33)
    back = qparams.dequantize(qparams.quantize(x)).astype(np.float64)
    # Half a step, and what rounding the scale to float32 moves at most 255 steps away.
    bound = float(qparams.scale) * (0.5 + 512 * 2.0**-24)
    assert np.abs(back - x).max() <= bound
    assert qparams.dequantize(qparams.quantize(np.zeros(1)))[0] == 0


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("number", [0.0, 5.0, -5.0, 1e-30])
def test_a_constant_tensor(spec: QuantSpec, number: float) -> None:
    qparams = QParams.from_range(spec, number, number)
    assert (qparams.scale == np.float32(MIN_SCALE)) == (number == 0)
    back = qparams.dequantize(qparams.quantize(np.array([number])))[0]
    assert abs(back - number) <= qparams.scale / 2


@pytest.mark.parametrize(
    ("low", "high"), [(1.0, 0.0), (0.0, np.inf), (-np.inf, 0.0), (np.nan, 1.0)]
)
def test_refuses_what_is_no_range(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="not a range"):
        QParams.from_range(U8, low, high)


def test_refuses_a_type_that_is_not_stored() -> None:
    with pytest.raises(ValueError, match="dtype must be one of INT4, INT8, UINT8, got FLOAT"):
        QuantSpec(dtype=ir.DataType.FLOAT, symmetric=True)


def test_bounds_and_middle() -> None:
    assert (S8.bounds, S8.middle) == ((-127, 127), 0)
    assert (U8.bounds, U8.middle) == ((0, 255), 128)


def test_ties_go_to_even_and_ends_saturate() -> None:
    qparams = QParams(S8_AFFINE, np.array(1.0, np.float32), np.array(0, np.int8))
    q = qparams.quantize(np.array([0.5, 1.5, 2.5, -0.5, 300.0, -300.0]))
    assert q.tolist() == [0, 2, 2, 0, 127, -128]


def test_a_scale_a_channel_lies_along_its_axis() -> None:
    scale = np.array([1.0, 2.0], np.float32)
    qparams = QParams(S8_PER_CHANNEL, scale, np.zeros(2, np.int8), axis=1)
    x = np.full((3, 2, 1), 4.0, np.float32)
    q = qparams.quantize(x)
    assert q[0].ravel().tolist() == [4, 2]
    np.testing.assert_array_equal(qparams.dequantize(q), x)


def test_equal_means_the_same_integers() -> None:
    one, same = QParams.from_range(U8, -1, 1), QParams.from_range(U8, -1, 1)
    channels = QParams(S8_PER_CHANNEL, np.ones(2, np.float32), np.zeros(2, np.int8), axis=0)
    assert one == same
    assert hash(one) == hash(same)
    assert one != QParams.from_range(U8, -1, 2)
    assert one != QParams.from_range(S8_AFFINE, -1, 1)
    assert channels == dataclasses.replace(channels)
    assert channels != dataclasses.replace(channels, axis=1)
    assert channels != "channels"
