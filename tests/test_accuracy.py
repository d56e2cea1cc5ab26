"""The paired interval against its published form, and its coverage by simulation."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcompile.validation.accuracy import Z95, accuracy, paired_interval


def log_likelihood(
    share: npt.NDArray[np.float64], drop: float, lost: int, won: int, samples: int
) -> npt.NDArray[np.float64]:
    """Of the multinomial model with P(won) = share, P(lost) = share + drop."""
    chances = (
        (share, won),
        (share + drop, lost),
        (1 - 2 * share - drop, samples - lost - won),
    )
    terms = [count * np.log(np.maximum(chance, 1e-300)) for chance, count in chances]
    return np.asarray(sum(terms))


@pytest.mark.parametrize(
    ("lost", "won", "samples"), [(9, 3, 100), (0, 0, 50), (5, 0, 2000), (20, 40, 160)]
)
def test_ends_are_where_the_score_test_rejects(lost: int, won: int, samples: int) -> None:
    for drop in paired_interval(lost, won, samples):
        shares = np.linspace(max(0.0, -drop), (1 - drop) / 2, 200_001)
        share = float(shares[np.argmax(log_likelihood(shares, drop, lost, won, samples))])
        variance = samples * (2 * share + drop * (1 - drop))
        score = abs(lost - won - samples * drop) / math.sqrt(variance)
        assert score == pytest.approx(1.96, abs=2e-3)  # the grid of shares is 1e-5 wide


def test_interval_is_wide_where_the_models_never_differ() -> None:
    low, high = paired_interval(0, 0, 100)
    assert low == pytest.approx(-high)
    assert high == pytest.approx(Z95**2 / (100 + Z95**2))  # D with n D^2 = z^2 D (1 - D)


@given(st.integers(1, 5000), st.data())
def test_interval_holds_the_drop_and_mirrors(samples: int, data: st.DataObject) -> None:
    lost = data.draw(st.integers(0, samples))
    won = data.draw(st.integers(0, samples - lost))
    low, high = paired_interval(lost, won, samples)
    assert -1 <= low <= (lost - won) / samples <= high <= 1
    assert paired_interval(won, lost, samples) == pytest.approx((-high, -low), abs=1e-9)


@pytest.mark.parametrize("samples", [30, 200])
@pytest.mark.parametrize(
    ("lost", "won"),
    [(0.005, 0.005), (0.02, 0.01), (0.05, 0.05), (0.2, 0.1), (0.3, 0.0), (0.01, 0.0)],
)
def test_coverage(samples: int, lost: float, won: float) -> None:
    draws = 4000
    random = np.random.default_rng(7)
    cells = random.multinomial(samples, [lost, won, 1 - lost - won], size=draws)
    drawn = [(b, c) for b, c, _ in cells.tolist()]
    intervals = {cell: paired_interval(*cell, samples) for cell in set(drawn)}
    bounds = np.array([intervals[cell] for cell in drawn])
    truth = lost - won
    coverage = ((bounds[:, 0] <= truth) & (truth <= bounds[:, 1])).mean()
    # Summed over all cells exactly, the worst of these is 0.930 (30 samples, 30 % lost, none
    # won); 0.914 leaves 4 standard errors of 4000 draws.
    assert coverage >= 0.914


def test_figures() -> None:
    labels = np.array([0, 1, 2, 3, 4])
    result = accuracy(labels, np.array([0, 1, 2, 0, 0]), np.array([0, 1, 9, 3, 0]))
    assert result["float"] == pytest.approx(0.6)
    assert result["compiled"] == pytest.approx(0.6)
    assert result["drop"] == 0.0
    assert result["agreement"] == pytest.approx(0.6)
    assert result["ci95"] == list(paired_interval(1, 1, 5))


def test_without_a_reference_only_our_figure() -> None:
    result = accuracy(np.array([1, 1]), np.array([1, 0]), None)
    assert result == {
        "float": None,
        "compiled": 0.5,
        "drop": None,
        "ci95": None,
        "agreement": None,
    }
