"""QAdd against exact NumPy arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given

from qcompile.targets.isa import Isa
from qcompile.targets.kernels.add import Add
from qcompile.targets.kernels.epilogue import Epilogue
from qcompile.targets.kernels.pairwise import Pairwise, Step
from qcompile.targets.kernels.view import View
from qcompile.targets.layout import Halo, Layout
from tests.targets.buffers import Array, last_step
from tests.targets.pairs import RUNNABLE, check, pairs, pairwise
from tests.targets.strategies import QUICK, SEEDS, THOROUGH


def fused(a: Array, b: Array, c: Array) -> Array:
    """Return float32(a * b + c), rounded once, by rational arithmetic."""
    flat = [
        nearest(Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z)))
        for x, y, z in zip(*(v.ravel() for v in np.broadcast_arrays(a, b, c)), strict=True)
    ]
    return np.array(flat, np.float32).reshape(np.broadcast(a, b, c).shape)


def nearest(exact: Fraction) -> np.float32:
    """Return the float32 nearest to a number, ties to even."""
    guess = np.float32(float(exact))
    around = [np.nextafter(guess, np.float32(end)) for end in (-np.inf, np.inf)]
    even = [int(value.view(np.int32)) & 1 for value in (guess, *around)]
    candidates = zip((guess, *around), even, strict=True)
    best = min(candidates, key=lambda pair: (abs(Fraction(float(pair[0])) - exact), pair[1]))
    return np.float32(best[0])


def added(a: Array, b: Array, step: Step, factors: Sequence[np.float32]) -> Array:
    left = (a.astype(np.int32) - step.a_zero_point).astype(np.float32)
    right = (b.astype(np.int32) - step.b_zero_point).astype(np.float32) * factors[1]
    return last_step(fused(left, np.asarray(factors[0]), right), step.epilogue)


def factors(seed: int) -> list[np.float32]:
    """Return multipliers; a difference is a sum with a negative factor."""
    rng = np.random.default_rng(seed)
    sign = rng.choice([-1, 1])
    return [np.float32(rng.uniform(0.01, 2)), np.float32(sign * rng.uniform(0.01, 2))]


@QUICK
@given(pairs(Add), SEEDS)
def test_adds(case: tuple[Pairwise, list[View]], seed: int) -> None:
    check(*case, [factors(seed)], added, seed)


@pytest.mark.slow
@THOROUGH
@given(pairs(Add), SEEDS)
def test_adds_many(case: tuple[Pairwise, list[View]], seed: int) -> None:
    check(*case, [factors(seed)], added, seed)


@pytest.mark.parametrize("isa", RUNNABLE, ids=lambda isa: isa.name)
@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("channels", [24, 96, 100])
def test_adds_a_residual(isa: Isa, parallel: bool, channels: int) -> None:
    shape = (2, channels, 3, 5)
    plain = View.of(shape, Layout.spatial(shape, isa.lanes))
    halo = View.of(shape, Layout.spatial(shape, isa.lanes, Halo(1, 1, 1, 1)))
    epilogue = Epilogue(dtype="uint8", zero_point=60, bounded=True)
    step = Add(a_zero_point=120, b_zero_point=3, epilogue=epilogue)
    template = pairwise(step, plain, halo, halo, isa=isa, parallel=parallel)
    check(template, [plain, halo], [factors(1)], added, 1)


def test_shapes_must_broadcast() -> None:
    with pytest.raises(ValueError, match="does not broadcast"):
        View.plain((2, 3)).broadcast_to((2, 4))
