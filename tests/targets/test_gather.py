"""Gather, and index maps through tables, against NumPy's indexing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcompile.targets.kernels.gather import Gather, Table
from qcompile.targets.kernels.view import View
from qcompile.targets.layout import Halo, Layout
from tests.targets.buffers import LANES, Array, image, run, stored
from tests.targets.strategies import (
    QUICK,
    SEEDS,
    SIZES,
    THOROUGH,
    shapes,
    views,
    zero_points,
)

Case = tuple[Gather, Array, list[Array], Array]
"""A template, x, its indices and what must come out."""


def numbers(seed: int, shape: tuple[int, ...], dtype: str) -> Array:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, shape).astype(np.uint8).astype(dtype)


@st.composite
def maps(draw: st.DrawFn) -> Case:
    """Draw constant indices along some axes."""
    dtype, seed = draw(st.sampled_from(["uint8", "int8"])), draw(SEEDS)
    shape = draw(shapes(least=1))
    axes = draw(st.sets(st.integers(0, len(shape) - 1), min_size=1, max_size=2))
    rng = np.random.default_rng(seed)
    picked = {axis: rng.integers(0, shape[axis], draw(SIZES)) for axis in sorted(axes)}
    whole = [picked.get(axis, np.arange(size)) for axis, size in enumerate(shape)]
    y = draw(views(tuple(len(each) for each in whole)))
    source = draw(views(shape))
    x, tables = source, []
    for axis, indices in picked.items():
        around = [len(indices) if at == axis else 1 for at in range(len(shape))]
        places = View.plain(around).broadcast_to(y.shape)
        tables.append(Table(indices=places, stride=source.strides[axis], size=shape[axis]))
        x = x.pick(axis, 0, [(len(indices), 0)])
    template = Gather(
        x=x,
        y=y,
        tables=tuple(tables),
        dtype=dtype,
        zero_point=draw(zero_points(dtype)),
        lanes=draw(st.sampled_from(LANES)),
        parallel=draw(st.booleans()),
    )
    array = numbers(seed, shape, dtype)
    given_indices = [each.astype(np.int32) for each in picked.values()]
    return template, array, given_indices, array[np.ix_(*whole)]


@st.composite
def gathers(draw: st.DrawFn) -> Case:
    """Draw indices of the run, which may be negative or beyond the table."""
    dtype, seed = draw(st.sampled_from(["uint8", "int8"])), draw(SEEDS)
    shape = draw(shapes(least=1, most=3))
    axis = draw(st.integers(0, len(shape) - 1))
    inner = draw(st.lists(st.integers(1, 4), max_size=2).map(tuple))
    kind = draw(st.sampled_from([np.int32, np.int64]))
    size = shape[axis]
    indices = np.random.default_rng(seed).integers(-2 * size, 2 * size, inner).astype(kind)
    source = draw(views(shape))
    y = draw(views((*shape[:axis], *inner, *shape[axis + 1 :])))
    around = (*[1] * axis, *inner, *[1] * (len(shape) - axis - 1))
    table = Table(
        indices=View.plain(around).broadcast_to(y.shape),
        stride=source.strides[axis],
        size=size,
        dtype=np.dtype(kind).name,
        clamped=True,
    )
    template = Gather(
        x=source.pick(axis, 0, [(each, 0) for each in inner]),
        y=y,
        tables=(table,),
        dtype=dtype,
        zero_point=draw(zero_points(dtype)),
        lanes=draw(st.sampled_from(LANES)),
        parallel=draw(st.booleans()),
    )
    x = numbers(seed, shape, dtype)
    right = [min(max(i + size if i < 0 else i, 0), size - 1) for i in indices.ravel().tolist()]
    expected = np.take(x, np.array(right, int).reshape(inner), axis)
    return template, x, [indices], expected


def check(case: Case) -> None:
    template, x, indices, expected = case
    arguments = [stored(x, template.x.layout), *indices]
    buffer = run(template, arguments, template.y.layout, template.dtype)
    np.testing.assert_array_equal(image(buffer, template.y, template.zero_point), expected)


@QUICK
@given(maps())
def test_index_maps(case: Case) -> None:
    check(case)


@QUICK
@given(gathers())
def test_gathers(case: Case) -> None:
    check(case)


@pytest.mark.slow
@THOROUGH
@given(st.one_of(maps(), gathers()))
def test_gathers_many(case: Case) -> None:
    check(case)


@pytest.mark.parametrize("lanes", LANES)
def test_an_image_with_a_halo(lanes: int) -> None:
    before, after = (2, 20, 5, 4), (2, 20, 3, 7)
    source = View.of(before, Layout.spatial(before, 16, Halo(1, 0, 2, 1)))
    y = View.of(after, Layout.spatial(after, 16, Halo(1, 2, 0, 1)))
    lines, columns = np.array([4, 0, 3], np.int32), np.array([3, 3, 0, 1, 2, 0, 0], np.int32)
    tables = (
        Table(
            indices=View.plain((1, 1, 3, 1)).broadcast_to(after),
            stride=source.strides[2],
            size=5,
        ),
        Table(
            indices=View.plain((1, 1, 1, 7)).broadcast_to(after),
            stride=source.strides[3],
            size=4,
        ),
    )
    held = source.pick(2, 0, [(3, 0)]).pick(3, 0, [(7, 0)])
    template = Gather(x=held, y=y, tables=tables, dtype="int8", zero_point=-5, lanes=lanes)
    x = numbers(0, before, "int8")
    check((template, x, [lines, columns], x[:, :, lines][..., columns]))


def test_shapes_must_agree() -> None:
    plain = View.plain((3,))
    table = Table(indices=View.plain((4,)), stride=1, size=3)
    with pytest.raises(ValueError, match=r"\(4,\) is not the shape of y, \(3,\)"):
        Gather(x=plain, y=plain, tables=(table,), dtype="uint8")
