"""QMul against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcompile.targets.kernels.epilogue import Epilogue
from qcompile.targets.kernels.mul import Mul
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


def expected(a: Array, b: Array, template: Mul, multiplier: np.float32) -> Array:
    left = a.astype(np.int32) - template.a_zero_point
    right = b.astype(np.int32) - template.b_zero_point
    return last_step((left * right).astype(np.float32) * multiplier, template.epilogue)


def check(template: Mul, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = (
        rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max + 1, view.shape).astype(dtype)
        for dtype, view in ((template.a_dtype, template.a), (template.b_dtype, template.b))
    )
    multiplier = np.float32(rng.choice([2.0**-8, rng.uniform(0.0001, 0.02)]))
    arguments = [
        stored(a, template.a.layout, seed),
        stored(b, template.b.layout, seed),
        np.asarray([multiplier]),
    ]
    buffer = run(template, arguments, template.y.layout, template.epilogue.dtype)
    got = image(buffer, template.y, template.epilogue.zero_point)
    np.testing.assert_array_equal(got, expected(a, b, template, multiplier))


@st.composite
def templates(draw: st.DrawFn) -> Mul:
    (a, b, y), epilogue = draw(broadcast_shapes(2)), draw(epilogues())
    a_dtype, b_dtype = draw(T8), draw(T8)
    return Mul(
        a=draw(views(a)),
        b=draw(views(b)),
        y=draw(views(y, halo=epilogue.dtype != "float32")),
        a_dtype=a_dtype,
        b_dtype=b_dtype,
        a_zero_point=draw(zero_points(a_dtype)),
        b_zero_point=draw(zero_points(b_dtype)),
        epilogue=epilogue,
        lanes=draw(st.sampled_from(LANES)),
        parallel=draw(st.booleans()),
    )


@QUICK
@given(templates(), SEEDS)
def test_multiplies(template: Mul, seed: int) -> None:
    check(template, seed)


@pytest.mark.slow
@THOROUGH
@given(templates(), SEEDS)
def test_multiplies_many(template: Mul, seed: int) -> None:
    check(template, seed)


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("parallel", [False, True])
def test_gates_channels(lanes: int, parallel: bool) -> None:
    """The last step of a squeeze-and-excite: one factor a channel, for every pixel."""
    shape, gate = (2, 24, 6, 5), (2, 24, 1, 1)
    image_view = View.of(shape, Layout.spatial(shape, lanes))
    halo = View.of(shape, Layout.spatial(shape, lanes, Halo(1, 1, 1, 1)))
    template = Mul(
        a=image_view,
        b=View.of(gate, Layout.spatial(gate, lanes)),
        y=halo,
        a_dtype="uint8",
        b_dtype="uint8",
        a_zero_point=120,
        b_zero_point=0,
        epilogue=Epilogue(dtype="uint8", zero_point=60),
        lanes=lanes,
        parallel=parallel,
    )
    check(template, 1)


def test_the_largest_products_are_exact() -> None:
    plain = View.plain((2,))
    template = Mul(
        a=plain,
        b=plain,
        y=plain,
        a_dtype="uint8",
        b_dtype="int8",
        a_zero_point=0,
        b_zero_point=127,
        epilogue=Epilogue(dtype="float32"),
        lanes=LANES[0],
    )
    a, b = np.array([255, 254], np.uint8), np.array([-128, -128], np.int8)
    buffer = run(template, [a, b, np.ones(1, np.float32)], plain.layout, "float32")
    np.testing.assert_array_equal(buffer, [-255 * 255, -254 * 255])
