"""Where on integers against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcompile.targets.kernels.where import Where
from tests.targets.buffers import LANES, image, run, stored
from tests.targets.strategies import (
    QUICK,
    SEEDS,
    T8,
    THOROUGH,
    broadcast_shapes,
    views,
    zero_points,
)


@st.composite
def templates(draw: st.DrawFn) -> Where:
    (condition, a, b, y), dtype = draw(broadcast_shapes(3)), draw(T8)
    return Where(
        condition=draw(views(condition)),
        a=draw(views(a)),
        b=draw(views(b)),
        y=draw(views(y)),
        dtype=dtype,
        zero_point=draw(zero_points(dtype)),
        lanes=draw(st.sampled_from(LANES)),
        parallel=draw(st.booleans()),
    )


def check(template: Where, seed: int) -> None:
    rng = np.random.default_rng(seed)
    limits = np.iinfo(template.dtype)
    a, b = (
        rng.integers(limits.min, limits.max + 1, view.shape).astype(template.dtype)
        for view in (template.a, template.b)
    )
    condition = rng.random(template.condition.shape) < 0.5
    flags = stored(condition.astype(np.uint8), template.condition.layout, seed) & 1
    arguments = [
        flags.astype(bool),
        stored(a, template.a.layout, seed),
        stored(b, template.b.layout, seed),
    ]
    buffer = run(template, arguments, template.y.layout, template.dtype)
    got = image(buffer, template.y, template.zero_point)
    np.testing.assert_array_equal(got, np.where(condition, a, b))


@QUICK
@given(templates(), SEEDS)
def test_picks(template: Where, seed: int) -> None:
    check(template, seed)


@pytest.mark.slow
@THOROUGH
@given(templates(), SEEDS)
def test_picks_many(template: Where, seed: int) -> None:
    check(template, seed)
