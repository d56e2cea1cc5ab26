"""The least-squares range: its error formula, and how near it comes to the best range."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcompile.calibration.histogram import RELATIVE_WIDTH, Histogram
from qcompile.calibration.squared_error import expected_squared_error, least_squares_range
from qcompile.quant import S8, S8_AFFINE, U8, QParams, QuantSpec

SPECS = (U8, S8, S8_AFFINE)
SIZE = 1 << 14

TOLERANCE = 6 * 0.9 / np.sqrt(SIZE) + 2 * RELATIVE_WIDTH
"""The squared rounding error of one value, u² with u uniform in a step, has a deviation of
0.9 times its mean; six of those of the mean of SIZE values. A clipped value's distance to
the end is known to its bucket, so its square to twice that."""


def histogram(x: npt.NDArray[np.floating]) -> Histogram:
    result = Histogram()
    result.add(x)
    return result


def true_error(x: npt.NDArray[np.floating], qparams: QParams) -> float:
    q = qparams.dequantize(qparams.quantize(x)).astype(np.float64)
    return float(np.mean((x.astype(np.float64) - q) ** 2))


def sample(kind: str, seed: int) -> npt.NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    u = rng.normal(size=SIZE)
    x = {
        "normal": u + 0.3,
        "relu": np.maximum(u, 0),
        "laplace": rng.laplace(size=SIZE),
        "student": rng.standard_t(3, size=SIZE),
        "lognormal": np.exp(1.5 * u),
        "negative": -rng.exponential(size=SIZE),
        "silu": 3 * u / (1 + np.exp(-3 * u)),
    }[kind]
    return np.asarray(x, np.float32)


kinds = st.sampled_from(
    ["normal", "relu", "laplace", "student", "lognormal", "negative", "silu"]
)
seeds = st.integers(0, 2**32 - 1)


@given(kinds, seeds, st.sampled_from(SPECS), st.floats(0.05, 1.0))
@settings(deadline=None, max_examples=60)
def test_expected_error_is_the_true_one(
    kind: str, seed: int, spec: QuantSpec, share: float
) -> None:
    x = sample(kind, seed)
    low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    qparams = QParams.from_range(spec, low * share, high * share)
    expected = expected_squared_error(histogram(x).buckets(), qparams)
    assert expected == pytest.approx(true_error(x, qparams), rel=TOLERANCE)


@pytest.mark.parametrize("value", [0.3, -7.0, 0.0, 5.99])
def test_expected_error_of_one_value_is_exact(value: float) -> None:
    x = np.full(3, value, np.float32)
    qparams = QParams.from_range(U8, -4.0, 6.0)
    expected = expected_squared_error(histogram(x).buckets(), qparams)
    # dequantize rounds to float32, the formula does not.
    assert expected == pytest.approx(true_error(x, qparams), rel=1e-4, abs=1e-12)


@given(kinds, seeds, st.sampled_from(SPECS))
@settings(deadline=None, max_examples=40)
def test_never_worse_than_min_max(kind: str, seed: int, spec: QuantSpec) -> None:
    x = sample(kind, seed)
    low, high = least_squares_range(histogram(x), spec)
    best = true_error(x, QParams.from_range(spec, low, high))
    whole = true_error(x, QParams.from_range(spec, float(x.min()), float(x.max())))
    assert best <= whole * (1 + 2 * TOLERANCE)  # both errors are estimated


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("kind", ["normal", "laplace", "student", "silu"])
def test_near_the_best_of_a_grid(kind: str, spec: QuantSpec) -> None:
    x = sample(kind, 5)
    low, high = float(x.min()), float(x.max())
    shares = np.geomspace(1, 0.05, 24)
    best = min(
        true_error(x, QParams.from_range(spec, low * a, high * b))
        for a in shares
        for b in (shares if not spec.symmetric else [a])
    )
    found = true_error(x, QParams.from_range(spec, *least_squares_range(histogram(x), spec)))
    assert found <= best * (1 + 2 * TOLERANCE)


@pytest.mark.parametrize("spec", SPECS)
def test_better_than_min_max_with_heavy_tails(spec: QuantSpec) -> None:
    x = np.random.default_rng(2).laplace(size=1 << 18).astype(np.float32)
    low, high = least_squares_range(histogram(x), spec)
    found = true_error(x, QParams.from_range(spec, low, high))
    whole = true_error(x, QParams.from_range(spec, float(x.min()), float(x.max())))
    assert found < 0.9 * whole


def test_what_can_be_exact_is() -> None:
    x = np.arange(256, dtype=np.float32)
    assert least_squares_range(histogram(np.repeat(x[:128], 9)), U8) == (0.0, 127.0)
    assert least_squares_range(histogram(np.zeros(3, np.float32)), U8) == (0.0, 0.0)
    assert least_squares_range(histogram(np.full(3, -4, np.float32)), U8) == (-4.0, 0.0)
    assert least_squares_range(histogram(np.full(3, -4, np.float32)), S8) == (-4.0, 4.0)
