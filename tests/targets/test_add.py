"""QAdd against exact NumPy arithmetic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcompile.targets.kernels.add import Add
from qcompile.targets.kernels.epilogue import Epilogue
from qcompile.targets.kernels.view import View
from qcompile.targets.layout import Halo, Layout
from tests.targets.buffers import LANES, Array, image, last_step, run, stored
from tests.targets.strategies import (
    QUICK,
    SEEDS,
    T8,
    THOROUGH,
    broadcast_shapes,
    epilogues,
    views,
    zero_points,
)


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


def expected(
    a: Array, b: Array, template: Add, factors: tuple[np.float32, np.float32]
) -> Array:
    left = (a.astype(np.int32) - template.a_zero_point).astype(np.float32)
    right = (b.astype(np.int32) - template.b_zero_point).astype(np.float32) * factors[1]
    return last_step(fused(left, np.asarray(factors[0]), right), template.epilogue)


def check(template: Add, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = (
        rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max + 1, view.shape).astype(dtype)
        for dtype, view in ((template.a_dtype, template.a), (template.b_dtype, template.b))
    )
    sign = rng.choice([-1, 1])  # a difference is a sum with a negative factor
    factors = (np.float32(rng.uniform(0.01, 2)), np.float32(sign * rng.uniform(0.01, 2)))
    arguments = [
        stored(a, template.a.layout, seed),
        stored(b, template.b.layout, seed),
        *(np.asarray([factor]) for factor in factors),
    ]
    epilogue = template.epilogue
    buffer = run(template, arguments, template.y.layout, epilogue.dtype)
    got = image(buffer, template.y, epilogue.zero_point)
    np.testing.assert_array_equal(got, expected(a, b, template, factors))


@st.composite
def templates(draw: st.DrawFn) -> Add:
    (b, a, y), epilogue = draw(broadcast_shapes(2)), draw(epilogues())
    a_dtype, b_dtype = draw(T8), draw(T8)
    return Add(
        a=draw(views(a)),
        b=draw(views(b)),
        y=draw(views(y, halo=epilogue.dtype != "float32")),
        a_dtype=a_dtype,
        b_dtype=b_dtype,
        a_zero_point=draw(zero_points(a_dtype)),
        b_zero_point=draw(zero_points(b_dtype)),
        epilogue=epilogue,
        lanes=draw(st.sampled_from(LANES)),
    )


@QUICK
@given(templates(), SEEDS)
def test_adds(template: Add, seed: int) -> None:
    check(template, seed)


@pytest.mark.slow
@THOROUGH
@given(templates(), SEEDS)
def test_adds_many(template: Add, seed: int) -> None:
    check(template, seed)


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("parallel", [False, True])
def test_adds_a_residual(lanes: int, parallel: bool) -> None:
    shape = (2, 24, 6, 5)
    plain = View.of(shape, Layout.spatial(shape, lanes))
    halo = View.of(shape, Layout.spatial(shape, lanes, Halo(1, 1, 1, 1)))
    template = Add(
        a=plain,
        b=halo,
        y=halo,
        a_dtype="uint8",
        b_dtype="uint8",
        a_zero_point=120,
        b_zero_point=3,
        epilogue=Epilogue(dtype="uint8", zero_point=60),
        lanes=lanes,
        parallel=parallel,
    )
    check(template, 1)


def test_shapes_must_broadcast() -> None:
    with pytest.raises(ValueError, match="does not broadcast"):
        View.plain((2, 3)).broadcast_to((2, 4))
