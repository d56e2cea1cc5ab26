"""QLut against NumPy's indexing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcompile.targets.kernels.lookup import Lookup
from qcompile.targets.kernels.view import View
from qcompile.targets.layout import Halo, Layout
from tests.targets.buffers import LANES, image, run, stored
from tests.targets.strategies import QUICK, SEEDS, T8, THOROUGH, shapes, views, zero_points


@st.composite
def templates(draw: st.DrawFn) -> Lookup:
    shape, y_dtype = draw(shapes()), draw(T8)
    axes = st.one_of(st.none(), st.integers(0, len(shape) - 1)) if shape else st.none()
    return Lookup(
        x=draw(views(shape)),
        y=draw(views(shape)),
        x_dtype=draw(T8),
        y_dtype=y_dtype,
        zero_point=draw(zero_points(y_dtype)),
        axis=draw(axes),
        lanes=draw(st.sampled_from(LANES)),
        parallel=draw(st.booleans()),
    )


def check(template: Lookup, seed: int) -> None:
    rng = np.random.default_rng(seed)
    lowest = int(np.iinfo(template.x_dtype).min)
    x = rng.integers(lowest, lowest + 256, template.x.shape).astype(template.x_dtype)
    count = 1 if template.axis is None else x.shape[template.axis]
    table = np.stack([rng.permutation(256) for _ in range(count)])
    table = table.astype(np.uint8).view(template.y_dtype)
    which = (
        np.zeros(x.shape, int) if template.axis is None else np.indices(x.shape)[template.axis]
    )
    arguments = [stored(x, template.x.layout, seed), table]
    buffer = run(template, arguments, template.y.layout, template.y_dtype)
    got = image(buffer, template.y, template.zero_point)
    np.testing.assert_array_equal(got, table[which, x.astype(int) - lowest])


@QUICK
@given(templates(), SEEDS)
def test_looks_up(template: Lookup, seed: int) -> None:
    check(template, seed)


@pytest.mark.slow
@THOROUGH
@given(templates(), SEEDS)
def test_looks_up_many(template: Lookup, seed: int) -> None:
    check(template, seed)


@pytest.mark.parametrize("lanes", LANES)
def test_fills_the_halo(lanes: int) -> None:
    shape = (2, 20, 4, 3)
    x = View.of(shape, Layout.spatial(shape, 16))
    y = View.of(shape, Layout.spatial(shape, 16, Halo(1, 2, 0, 1)))
    template = Lookup(x=x, y=y, x_dtype="uint8", y_dtype="int8", zero_point=-5, lanes=lanes)
    check(template, 0)
