"""Weight scales: they cover the weights, hold the bias, and let no int32 overflow."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from qcompile.numerics import INT32_MAX, INT32_MIN, accumulator_bounds
from qcompile.quant import MIN_SCALE, S8, S8_AFFINE, S8_PER_CHANNEL, U8, QParams, QuantSpec
from qcompile.schemes.weight_scheme import bias_scale, bias_steps, vanishes, weight_qparams

Array = npt.NDArray[np.float32]

X = QParams.from_range(U8, -1.0, 3.0)


def worst(weight: Array, bias: Array, w: QParams, x: QParams) -> tuple[int, int]:
    """Return the lowest and highest accumulator over all inputs."""
    steps = bias_steps(np.broadcast_to(bias, weight.shape[0]), bias_scale(x, w))
    assert np.abs(steps).max() <= INT32_MAX
    low, high = accumulator_bounds(
        w.quantize(weight), steps.astype(np.int64), int(x.zero_point), x.spec.dtype
    )
    return int(min(low)), int(max(high))


numbers = st.floats(-(2.0**66), 2.0**66, width=32) | st.sampled_from(
    [0.0, 2.0**-100, -(2.0**-100), 2.0**-40, 2.0**-20, 1.0, -2.0]
)


@given(
    weight=nps.arrays(np.float32, (3, 5), elements=numbers),
    bias=nps.arrays(np.float32, 3, elements=numbers),
    spec=st.sampled_from([S8, S8_PER_CHANNEL]),
    x=st.builds(
        QParams.from_range,
        st.sampled_from([U8, S8_AFFINE]),
        st.sampled_from([0.0, -1e-12, -1.0, -1e6]),
        st.sampled_from([0.0, 1e-9, 1.0, 1e6]),
    ),
)
def test_no_accumulator_leaves_int32(
    weight: Array, bias: Array, spec: QuantSpec, x: QParams
) -> None:
    qparams = weight_qparams(weight, bias, spec, 0, x)
    low, high = worst(weight, bias, qparams, x)
    assert low >= INT32_MIN
    assert high <= INT32_MAX
    assert np.isfinite(qparams.scale).all()
    assert (bias_scale(x, qparams) >= np.finfo(np.float32).tiny).all()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_each_channel_is_covered_by_127_steps(axis: int) -> None:
    weight = np.random.default_rng(axis).standard_normal((4, 5, 6)).astype(np.float32)
    qparams = weight_qparams(weight, None, S8_PER_CHANNEL, axis, X)
    others = tuple(each for each in range(3) if each != axis)
    np.testing.assert_array_equal(
        qparams.scale, (np.abs(weight).max(others).astype(np.float64) / 127).astype(np.float32)
    )
    assert (np.abs(qparams.quantize(weight).astype(int)).max(others) == 127).all()
    assert qparams.axis == axis


def test_one_scale_for_all_channels() -> None:
    weight = np.array([[1.0, -3.0], [0.5, 0.25]], np.float32)
    qparams = weight_qparams(weight, None, S8, 0, X)
    assert qparams.scale == np.float32(3 / 127)
    assert qparams.axis is None


def test_a_large_bias_on_tiny_weights_raises_the_scale_of_its_channel_only() -> None:
    weight = np.array([[1e-9, 2e-9], [1.0, 2.0]], np.float32)
    bias = np.array([5.0, 5.0], np.float32)
    qparams = weight_qparams(weight, bias, S8_PER_CHANNEL, 0, X)
    steps = bias_steps(bias, bias_scale(X, qparams))
    assert qparams.scale[0] > 2e-9 / 127
    assert qparams.scale[1] == np.float32(2 / 127)
    # Not raised further than needed: the bias still takes all but 7 of its 31 bits.
    assert INT32_MAX / 2**7 < steps[0] <= INT32_MAX


def test_a_long_sum_of_the_largest_products_raises_the_scale() -> None:
    length = 2**31 // (127 * 255) + 1000
    weight = np.ones((1, length), np.float32)
    x = QParams.from_range(U8, 0.0, 1.0)
    qparams = weight_qparams(weight, None, S8_PER_CHANNEL, 0, x)
    assert qparams.scale[0] > np.float32(1 / 127)
    assert (qparams.quantize(weight) == 125).all()
    assert worst(weight, np.zeros(1, np.float32), qparams, x)[1] <= INT32_MAX


@pytest.mark.parametrize("spec", [S8, S8_PER_CHANNEL])
@pytest.mark.parametrize("bias", [1e-6, -3.0, 1e9])
def test_a_dead_channel_holds_its_bias(spec: QuantSpec, bias: float) -> None:
    weight, offset = np.zeros((1, 4), np.float32), np.array([bias], np.float32)
    qparams = weight_qparams(weight, offset, spec, 0, X)
    scale = bias_scale(X, qparams).reshape(-1)
    steps = bias_steps(offset, scale)
    # One rounding of 2**-24 for the scale, one for the steps.
    assert abs(steps[0] * scale[0] / offset[0] - 1) <= 2.0**-23


@pytest.mark.parametrize("size", [1e-20, 1e-30, 1e-34])
def test_tiny_weights_keep_their_steps(size: float) -> None:
    weight = np.array([[size, -size / 2], [size / 4, 0.0], [0.0, 0.0]], np.float32)
    qparams = weight_qparams(weight, None, S8_PER_CHANNEL, 0, X)
    assert qparams.quantize(weight)[0, 0] == 127
    assert qparams.quantize(weight)[1, 0] > 31
    assert (bias_scale(X, qparams) >= np.finfo(np.float32).tiny).all()
    assert not vanishes(weight, X)


def test_a_channel_far_below_the_others_counts_as_dead() -> None:
    weight = np.array([[1.0], [1e-40]], np.float32)
    assert weight_qparams(weight, None, S8_PER_CHANNEL, 0, X).scale[1] == 2.0**-80
    assert not vanishes(weight, X)
    assert vanishes(weight[1:], X)


def test_nothing_at_all_still_has_a_normal_scale() -> None:
    least = dataclasses.replace(X, scale=np.array(MIN_SCALE, np.float32))
    qparams = weight_qparams(np.zeros((2, 3), np.float32), None, S8_PER_CHANNEL, 0, least)
    assert (bias_scale(least, qparams) >= np.finfo(np.float32).tiny).all()
    assert qparams.zero_point.dtype == ir.DataType.INT8.numpy()
