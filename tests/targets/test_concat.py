"""Concat against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcompile.targets.kernels.concat import Concat
from qcompile.targets.kernels.view import View
from qcompile.targets.layout import Halo, Layout
from tests.targets.buffers import LANES, image, run, stored
from tests.targets.strategies import QUICK, SEEDS, T8, THOROUGH, shapes, views, zero_points


@st.composite
def templates(draw: st.DrawFn) -> Concat:
    shape, dtype = draw(shapes(least=1)), draw(T8)
    axis = draw(st.integers(0, len(shape) - 1))
    sizes = draw(st.lists(st.integers(1, 40), min_size=1, max_size=4))
    parts = [(*shape[:axis], size, *shape[axis + 1 :]) for size in sizes]
    return Concat(
        inputs=tuple(draw(views(part)) for part in parts),
        y=draw(views((*shape[:axis], sum(sizes), *shape[axis + 1 :]))),
        axis=axis,
        dtype=dtype,
        zero_point=draw(zero_points(dtype)),
        lanes=draw(st.sampled_from(LANES)),
        parallel=draw(st.booleans()),
    )


def check(template: Concat, seed: int) -> None:
    rng = np.random.default_rng(seed)
    parts = [
        rng.integers(0, 256, view.shape).astype(template.dtype) for view in template.inputs
    ]
    arguments = [
        stored(part, view.layout, seed)
        for part, view in zip(parts, template.inputs, strict=True)
    ]
    buffer = run(template, arguments, template.y.layout, template.dtype)
    got = image(buffer, template.y, template.zero_point)
    np.testing.assert_array_equal(got, np.concatenate(parts, template.axis))


@QUICK
@given(templates(), SEEDS)
def test_concatenates(template: Concat, seed: int) -> None:
    check(template, seed)


@pytest.mark.slow
@THOROUGH
@given(templates(), SEEDS)
def test_concatenates_many(template: Concat, seed: int) -> None:
    check(template, seed)


@pytest.mark.parametrize("lanes", LANES)
def test_fills_the_halo(lanes: int) -> None:
    parts = [View.of((2, c, 4, 3), Layout.spatial((2, c, 4, 3), 16)) for c in (20, 16)]
    y = View.of((2, 36, 4, 3), Layout.spatial((2, 36, 4, 3), 16, Halo(1, 2, 0, 1)))
    template = Concat(
        inputs=tuple(parts), y=y, axis=1, dtype="int8", zero_point=-5, lanes=lanes
    )
    check(template, 0)


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("channels", [(24, 24, 24), (3, 3, 3), (20, 70, 6)])
@pytest.mark.parametrize("halo", [Halo(), Halo(1, 2, 0, 1)])
def test_reads_images_that_are_repeated(
    lanes: int, channels: tuple[int, ...], halo: Halo
) -> None:
    factors, rng, size = (1, 2, 4), np.random.default_rng(0), 8
    parts, views = [], []
    for c, factor in zip(channels, factors, strict=True):
        shape = (1, c, size // factor, size // factor)
        parts.append(rng.integers(0, 256, shape).astype(np.uint8))
        view = View.of(shape, Layout.spatial(shape, 16, Halo(0, 1, 0, 0)))
        for axis in (3, 2):
            view = view.pick(axis, 0, [(size // factor, 1), (factor, 0)])
        views.append(view)
    y = View.of(
        (1, sum(channels), size, size), Layout.spatial((1, sum(channels), 8, 8), 4, halo)
    )
    template = Concat(
        inputs=tuple(views), y=y, axis=1, dtype="uint8", zero_point=9, lanes=lanes
    )
    arguments = [stored(part, view.layout) for part, view in zip(parts, views, strict=True)]
    buffer = run(template, arguments, y.layout, "uint8")
    repeated = [
        part.repeat(factor, 2).repeat(factor, 3)
        for part, factor in zip(parts, factors, strict=True)
    ]
    np.testing.assert_array_equal(image(buffer, y, 9), np.concatenate(repeated, 1))


def test_parts_must_fill_the_whole() -> None:
    part = View.plain((2, 3))
    with pytest.raises(ValueError, match="parts of 12 do not fill 14"):
        Concat(inputs=(part, part), y=View.plain((2, 7)), axis=1, dtype="uint8", zero_point=0)
