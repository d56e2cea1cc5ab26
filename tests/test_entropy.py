"""The entropy range: the divergence by hand, the threshold by the published algorithm."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from qcompile.calibration.entropy import divergence, entropy_range
from qcompile.calibration.histogram import Histogram
from qcompile.quant import S8, U8


def histogram(x: npt.NDArray[np.floating]) -> Histogram:
    result = Histogram()
    result.add(x)
    return result


def test_divergence_of_the_published_example() -> None:
    # Migacz 2017, slide 36: 8 bins into 2 levels gives [2, 0, 2, 2, 4, 4, 4, 4].
    p = [1, 0, 2, 3, 5, 3, 1, 7]
    q = [2, 0, 2, 2, 4, 4, 4, 4]
    expected = sum(a / 22 * math.log(a / b) for a, b in zip(p, q, strict=True) if a)
    assert divergence(np.array(p, float), 8, 2) == pytest.approx(expected, rel=1e-12)


def test_divergence_adds_outliers_to_the_last_bin() -> None:
    counts = np.array([4.0, 4.0, 2.0, 2.0, 0.0, 3.0])
    # P = [4, 4, 2, 5] / 15, Q = [4, 4, 2, 2] / 12.
    expected = (
        8 / 15 * math.log((4 / 15) / (4 / 12))
        + 2 / 15 * math.log((2 / 15) / (2 / 12))
        + 5 / 15 * math.log((5 / 15) / (2 / 12))
    )
    assert divergence(counts, 4, 2) == pytest.approx(expected, rel=1e-12)


def test_divergence_beyond_a_gap() -> None:
    counts = np.array([6.0, 2.0, 0.0, 0.0, 0.0, 1.0])
    # P = [6, 2, 0, 1] / 9; the last bin has no value of its own and counts as half: 8.5.
    expected = (
        6 / 9 * math.log((6 / 9) / (6 / 8.5))
        + 2 / 9 * math.log((2 / 9) / (2 / 8.5))
        + 1 / 9 * math.log((1 / 9) / (0.5 / 8.5))
    )
    assert divergence(counts, 4, 4) == pytest.approx(expected, rel=1e-12)


def test_divergence_of_nothing_kept() -> None:
    assert divergence(np.array([0.0, 0.0, 0.0, 5.0]), 2, 2) == math.inf


def published_threshold(
    x: npt.NDArray[np.floating], bins: int = 2048, levels: int = 128
) -> float:
    """Search as the slides do: every threshold, bins counted exactly."""
    counts, edges = np.histogram(np.abs(x), 2048, (0, np.abs(x).max()))
    stops = range(128, 2049)
    errors = [divergence(counts.astype(float), stop, 128) for stop in stops]
    return float(edges[stops[int(np.argmin(errors))]])


@pytest.mark.parametrize("kind", ["laplace", "student"])
def test_threshold_is_about_the_published_one(kind: str) -> None:
    rng = np.random.default_rng(3)
    x = {"laplace": rng.laplace(size=200_000), "student": rng.standard_t(4, 200_000)}[kind]
    x = x.astype(np.float32)
    low, high = entropy_range(histogram(x), S8)
    assert low == -high
    counts, edges = np.histogram(np.abs(x), 2048, (0, np.abs(x).max()))
    found = divergence(counts.astype(float), int(np.searchsorted(edges, high)), 128)
    expected = published_threshold(x)
    best = divergence(counts.astype(float), int(np.searchsorted(edges, expected)), 128)
    # Near the optimum the divergence is flat, and sampling noise of the bins moves it: the
    # threshold found on smoothed bins must be as good on the exact ones, up to that noise.
    assert found <= best * 2
    assert expected / 2 <= high <= expected * 2


def test_zeros_say_nothing() -> None:
    x = np.random.default_rng(4).normal(size=50_000).astype(np.float32)
    spiked = np.append(np.maximum(x, 0), np.zeros(200_000, np.float32))
    assert entropy_range(histogram(spiked), U8) == entropy_range(histogram(x[x > 0]), U8)


def test_ends_of_an_affine_range_are_independent() -> None:
    rng = np.random.default_rng(5)
    x = np.concatenate([-np.abs(rng.normal(size=50_000)), 5 * np.abs(rng.normal(size=50_000))])
    low, high = entropy_range(histogram(x.astype(np.float32)), U8)
    assert -5 < low < -2
    assert 10 < high < 25


def test_one_sided_range_keeps_zero_at_its_end() -> None:
    x = np.random.default_rng(6).exponential(size=50_000).astype(np.float32)
    assert entropy_range(histogram(x), U8)[0] == 0.0
    assert entropy_range(histogram(-x), U8)[1] == 0.0


def test_nothing_but_zeros() -> None:
    assert entropy_range(histogram(np.zeros(4)), U8) == (0.0, 0.0)
