"""The streaming histogram: exact merging, quantiles, resolution, what it refuses."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from qcompile.calibration.histogram import RELATIVE_WIDTH, Histogram

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
tensors = arrays(np.float32, array_shapes(max_dims=2, max_side=40), elements=finite)


def histogram(*parts: npt.ArrayLike) -> Histogram:
    result = Histogram()
    for part in parts:
        result.add(np.asarray(part))
    return result


def assert_same(actual: Histogram, expected: Histogram) -> None:
    np.testing.assert_array_equal(actual.counts, expected.counts)
    assert (actual.minimum, actual.maximum) == (expected.minimum, expected.maximum)


def spacing(value: float) -> float:
    """Return the width of the bucket that holds a value."""
    return max(abs(value) * RELATIVE_WIDTH, 2.0**-133)


@given(tensors, tensors)
def test_merging_is_adding(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> None:
    merged = histogram(a)
    merged.merge(histogram(b))
    assert_same(merged, histogram(np.concatenate([a.ravel(), b.ravel()])))
    assert_same(merged, histogram(a, b))
    assert merged.total == a.size + b.size


@given(tensors)
def test_every_value_lies_in_its_bucket(x: npt.NDArray[np.float32]) -> None:
    buckets = histogram(x).buckets()
    values = np.sort(x.ravel().astype(np.float64))
    assert buckets.counts.min() >= 1
    assert (buckets.lower[1:] >= buckets.upper[:-1]).all()
    assert (values >= np.repeat(buckets.lower, buckets.counts)).all()
    assert (values <= np.repeat(buckets.upper, buckets.counts)).all()
    assert (buckets.lower[0], buckets.upper[-1]) == (x.min(), x.max())


@given(tensors, st.floats(0, 1))
def test_quantile_is_within_one_bucket(x: npt.NDArray[np.float32], q: float) -> None:
    exact = np.sort(x.ravel().astype(np.float64))
    rank = q * (exact.size - 1)
    below, above = exact[int(np.floor(rank))], exact[int(np.ceil(rank))]
    # Both order statistics are off by their own bucket at most, so is a mean of the two.
    bound = max(spacing(below), spacing(above))
    assert abs(histogram(x).quantile(q) - np.quantile(exact, q)) <= bound * (1 + 1e-9)


@given(tensors)
def test_extreme_quantiles_are_exact(x: npt.NDArray[np.float32]) -> None:
    h = histogram(x)
    assert (h.quantile(0), h.quantile(1)) == (x.min(), x.max())


@given(tensors)
def test_magnitudes_are_those_of_the_absolute_values(x: npt.NDArray[np.float32]) -> None:
    actual, expected = histogram(x).magnitudes(), histogram(np.abs(x))
    np.testing.assert_array_equal(actual.counts, expected.counts)
    assert actual.maximum == expected.maximum
    # Which sign the least magnitude had is forgotten: its bucket is known, not its value.
    assert 0 <= expected.minimum - actual.minimum <= spacing(expected.minimum)


@given(tensors.filter(lambda x: np.abs(x).max() < 1e30), st.integers(1, 50))
def test_linear_keeps_every_count(x: npt.NDArray[np.float32], bins: int) -> None:
    whole = histogram(x)
    low, high = float(x.min()), float(np.nextafter(x.max(), np.float32(np.inf)))
    counts = whole.linear(bins, low, high)
    assert counts.min() >= -1e-6  # cumulative counts are subtracted in float64
    assert counts.sum() == pytest.approx(x.size, rel=1e-12)
    inner = whole.linear(bins, low / 2, high / 2 + 1)
    assert inner.sum() == pytest.approx(x.size, rel=1e-12)


def test_linear_is_numpy_histogram_where_buckets_are_finer() -> None:
    x = np.random.default_rng(0).uniform(1, 2, 10_000).astype(np.float32)
    # 128 buckets of 1/128 each: with 32 bins every edge is a bucket's edge.
    low, high = 1.0, 2.0
    expected = np.histogram(x, 32, (low, high))[0]
    actual = histogram(x).linear(32, low, high)
    # The first and the last bucket are clipped to the least and greatest value: nothing moves.
    np.testing.assert_allclose(actual, expected, atol=1e-6)


def test_an_outlier_takes_no_resolution() -> None:
    x = np.random.default_rng(1).normal(size=10_000).astype(np.float32)
    alone, disturbed = histogram(x), histogram(x, [1e30])
    changed = np.flatnonzero(alone.counts != disturbed.counts)
    assert changed.size == 1
    assert disturbed.quantile(0.5) == pytest.approx(alone.quantile(0.5), abs=1e-3)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.uint8, np.int64])
def test_takes_every_number_type(dtype: type[np.generic]) -> None:
    h = histogram(np.array([[0, 1], [2, 100]], dtype))
    assert (h.total, h.minimum, h.maximum) == (4, 0.0, 100.0)


def test_takes_strided_views() -> None:
    x = np.arange(24, dtype=np.float32).reshape(4, 6)
    assert_same(histogram(x.T[::2]), histogram(x.T[::2].copy()))


DEGENERATE = {
    "zeros": ([0.0, 0.0, -0.0], 0.0),
    "one value": ([-3.25], -3.25),
    "constant": ([7.0] * 9, 7.0),
    "subnormal": ([1e-42] * 3, 1e-42),
    "largest": ([np.finfo(np.float32).max] * 2, float(np.finfo(np.float32).max)),
}


@pytest.mark.parametrize(("values", "expected"), DEGENERATE.values(), ids=DEGENERATE)
def test_degenerate(values: list[float], expected: float) -> None:
    h = histogram(np.array(values, np.float32))
    for q in (0.0, 0.3, 1.0):
        assert h.quantile(q) == np.float32(expected)
    assert h.linear(4, -1.0, 1.0).sum() == len(values)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e39])
def test_refuses_what_is_not_finite(bad: float) -> None:
    h = histogram([1.0])
    with pytest.raises(ValueError, match="1 of 3 values are NaN or infinite"):
        h.add(np.array([0.5, bad, 2.0]))
    assert_same(h, histogram([1.0]))


def test_refuses_nan_of_any_payload() -> None:
    x = np.array([0x7F800001, 0xFFFFFFFF], np.uint32).view(np.float32)
    with pytest.raises(ValueError, match="2 of 2"):
        histogram(x)


@pytest.mark.parametrize("q", [-0.1, 1.1])
def test_refuses_no_quantile(q: float) -> None:
    with pytest.raises(ValueError, match="no quantile"):
        histogram([1.0]).quantile(q)


def test_refuses_the_quantile_of_nothing() -> None:
    h = histogram(np.zeros((0, 3)))
    assert h.total == 0
    with pytest.raises(ValueError, match="of 0 values"):
        h.quantile(0.5)


def test_size_does_not_grow() -> None:
    h = Histogram()
    sizes = set()
    for seed in range(5):
        h.add(np.random.default_rng(seed).normal(size=1000) * 10.0**seed)
        sizes.add(h.counts.nbytes)
    assert sizes == {8 * 65536}
    assert set(Histogram.__slots__) == {"counts", "minimum", "maximum"}
