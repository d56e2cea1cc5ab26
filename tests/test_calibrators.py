"""Calibrators: the ranges they choose, on shapes of data that are known and that are odd."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcompile.calibration.calibrators import CALIBRATORS, Observation, Percentile
from qcompile.quant import S8, S8_AFFINE, U8, QParams, QuantSpec

SPECS = {"u8": U8, "s8": S8, "s8-affine": S8_AFFINE}


def observe(*parts: npt.ArrayLike) -> Observation:
    observation = Observation()
    for part in parts:
        observation.add(np.asarray(part, np.float32))
    return observation


def test_names() -> None:
    names = {"min-max", "moving-average", "absmax", "percentile", "kl", "mse"}
    assert set(CALIBRATORS) == names


SIMPLE = {
    "min-max": [
        ([-1, 3], U8, (-1, 3)),
        ([2, 3], S8, (2, 3)),
    ],
    "moving-average": [
        ([-1, 3], U8, (-1, 3)),
    ],
    "absmax": [
        ([-1, 3], U8, (-3, 3)),
        ([0, 3], U8, (0, 3)),
        ([-3, 0], S8, (-3, 0)),
    ],
}
ROWS = [(name, *row) for name, rows in SIMPLE.items() for row in rows]


@pytest.mark.parametrize(("name", "values", "spec", "expected"), ROWS)
def test_simple(
    name: str, values: list[float], spec: QuantSpec, expected: tuple[float, float]
) -> None:
    assert CALIBRATORS[name](observe(values), spec) == expected


def test_moving_average_follows_the_runs() -> None:
    observation = observe([0, 10], [-1, 10], [0, 20])
    low, high = CALIBRATORS["moving-average"](observation, U8)
    assert low == pytest.approx(0.9 * (0.1 * -1))
    assert high == pytest.approx(0.9 * 10 + 0.1 * 20)
    assert (observation.minimum, observation.maximum, observation.count) == (-1, 20, 6)


def test_percentile_leaves_out_the_farthest() -> None:
    x = np.concatenate([np.linspace(-1, 1, 100_001), [500.0, -900.0]])
    low, high = CALIBRATORS["percentile"](observe(x), U8)
    # 0.01 % are left out: 5 of 100 003 at each end, so the 3rd and the 4th of [-1, 1].
    assert -1 <= low <= -0.99
    assert 0.99 <= high <= 1
    low, high = CALIBRATORS["percentile"](observe(x), S8)
    assert 0.99 <= high == -low <= 1


def test_percentile_of_half() -> None:
    low, high = Percentile(0.5)(observe(np.linspace(0, 1, 10_001)), U8)
    assert low == pytest.approx(0.25, rel=1 / 128)
    assert high == pytest.approx(0.75, rel=1 / 128)


ODD = {
    "zeros": [0.0] * 8,
    "one value": [2.5],
    "one negative value": [-2.5],
    "constant": [3.0] * 100,
    "subnormal": [1e-42, -1e-42],
    "tiny and huge": [1e-38, 1e38],
    "largest": [-3.4e38, 3.4e38],
    "two values": [-1.0] * 50 + [5.0] * 3,
    "all negative": list(-np.linspace(0.1, 3, 99)),
    "no zero": list(np.linspace(7, 8, 99)),
}


@pytest.mark.parametrize("name", CALIBRATORS)
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("values", ODD.values(), ids=ODD)
def test_odd_data_gives_a_range_within_it(
    values: list[float], spec: QuantSpec, name: str
) -> None:
    with np.errstate(all="raise", under="ignore"):
        low, high = CALIBRATORS[name](observe(values), spec)
    qparams = QParams.from_range(spec, low, high)
    greatest = np.abs(np.array(values, np.float32)).max()
    assert -greatest <= low <= high <= greatest
    assert np.isfinite(qparams.scale)


@pytest.mark.parametrize("name", CALIBRATORS)
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_a_constant_is_represented(spec: QuantSpec, name: str) -> None:
    values = np.full(100, 3.0, np.float32)
    qparams = QParams.from_range(spec, *CALIBRATORS[name](observe(values), spec))
    error = np.abs(qparams.dequantize(qparams.quantize(values)) - values)
    assert error.max() <= qparams.scale / 2  # one rounding, no saturation


@pytest.mark.parametrize("name", ["percentile", "kl"])
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("outlier", [1e3, -1e6, 1e30])
def test_one_huge_outlier_is_cut(spec: QuantSpec, name: str, outlier: float) -> None:
    x = np.random.default_rng(0).normal(size=100_000)
    low, high = CALIBRATORS[name](observe(x, [outlier]), spec)
    # The normal numbers end near 4.4; a range of twice that loses one bit of eight.
    assert 3 <= high <= 8.8
    assert -8.8 <= low <= -3


@given(st.integers(1, 6), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=10)
def test_order_of_runs_matters_to_the_moving_average_alone(parts: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    runs = [rng.normal(size=20) for _ in range(parts)]
    one, other = observe(*runs), observe(*runs[::-1])
    for name, calibrator in CALIBRATORS.items():
        if name != "moving-average":
            assert calibrator(one, U8) == calibrator(other, U8), name


def test_observation_refuses_nan_and_stays_as_it_was() -> None:
    observation = observe([1, 2])
    with pytest.raises(ValueError, match="1 of 2 values are NaN or infinite"):
        observation.add(np.array([np.nan, 9.0]))
    assert (observation.count, observation.maximum, observation.moving_maximum) == (2, 2, 2)


def test_observation_of_nothing() -> None:
    assert observe(np.zeros((0, 4))).count == 0
