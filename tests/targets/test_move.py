"""Transpose, Reshape, Slice, Pad and layouts against NumPy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcompile.targets.kernels.move import Move
from qcompile.targets.kernels.view import View, align
from qcompile.targets.layout import Halo, Layout
from tests.targets.buffers import LANES, Array, image, run, stored
from tests.targets.strategies import QUICK, THOROUGH, shapes, views

Case = tuple[Move, View, Array, Array]
"""A move, the whole output, an input and what must come out."""


def numbers(shape: tuple[int, ...], dtype: str) -> Array:
    rng = np.random.default_rng(sum(shape))
    return rng.integers(0, 256, shape).astype(np.uint8).astype(dtype)


def check(case: Case) -> None:
    template, whole, x, expected = case
    buffer = run(template, [stored(x, template.x.layout)], whole.layout, template.dtype)
    np.testing.assert_array_equal(image(buffer, whole, template.zero_point), expected)


@st.composite
def fields(draw: st.DrawFn) -> dict[str, object]:
    return {
        "dtype": draw(st.sampled_from(["uint8", "int8", "float32"])),
        "zero_point": draw(st.integers(0, 100)),
        "lanes": draw(st.sampled_from(LANES)),
        "parallel": draw(st.booleans()),
    }


@st.composite
def transposes(draw: st.DrawFn) -> Case:
    shape, options = draw(shapes(least=1)), draw(fields())
    order = draw(st.permutations(range(len(shape))))
    x = numbers(shape, str(options["dtype"]))
    y = draw(views(x.transpose(order).shape))
    source = draw(views(shape)).transpose(order)
    return Move(x=source, y=y, **options), y, x, x.transpose(order)  # type: ignore[arg-type]


@st.composite
def slices(draw: st.DrawFn) -> Case:
    shape, options = draw(shapes(least=1)), draw(fields())
    starts, extents, steps = [], [], []
    for size in shape:
        start = draw(st.integers(0, size - 1))
        step = draw(st.sampled_from([-2, -1, 1, 1, 1, 2, 3]))
        reach = start if step < 0 else size - 1 - start
        starts.append(start)
        steps.append(step)
        extents.append(draw(st.integers(1, reach // abs(step) + 1)))
    x = numbers(shape, str(options["dtype"]))
    index = [
        start + step * np.arange(extent)
        for start, step, extent in zip(starts, steps, extents, strict=True)
    ]
    y = draw(views(tuple(extents)))
    source = draw(views(shape)).slice(starts, extents, steps)
    return Move(x=source, y=y, **options), y, x, x[np.ix_(*index)]  # type: ignore[arg-type]


@st.composite
def pads(draw: st.DrawFn) -> Case:
    shape, options = draw(shapes(least=1)), draw(fields())
    begins = [draw(st.integers(-min(2, size - 1), 3)) for size in shape]
    ends = [
        draw(st.integers(max(-2, -size - min(begin, 0), 1 - size - begin), 3))
        for size, begin in zip(shape, begins, strict=True)
    ]
    x = numbers(shape, str(options["dtype"]))
    crop = tuple(
        slice(max(0, -begin), size + min(0, end))
        for size, begin, end in zip(shape, begins, ends, strict=True)
    )
    widths = [(max(0, begin), max(0, end)) for begin, end in zip(begins, ends, strict=True)]
    expected = np.pad(x[crop], widths, constant_values=9)
    y = draw(views(expected.shape))
    template = Move.pad(draw(views(shape)), y, begins, 9, **options)
    return template, y, x, expected


@st.composite
def reshapes(draw: st.DrawFn) -> Case:
    factors = draw(st.lists(st.integers(1, 6), min_size=1, max_size=6))
    options = draw(fields())

    def grouped() -> tuple[int, ...]:
        order = draw(st.permutations(factors))
        rank = draw(st.integers(1, 4))
        cuts = sorted(draw(st.integers(0, len(order))) for _ in range(rank - 1))
        edges = [0, *cuts, len(order)]
        return tuple(int(np.prod(order[a:b], initial=1)) for a, b in itertools.pairwise(edges))

    before, after = grouped(), grouped()
    x = numbers(before, str(options["dtype"]))
    y = draw(views(after))
    template = Move(x=draw(views(before)), y=y, **options)  # type: ignore[arg-type]
    return template, y, x, x.reshape(after)


MOVES = st.one_of(transposes(), slices(), pads(), reshapes())


@QUICK
@given(transposes())
def test_transposes(case: Case) -> None:
    check(case)


@QUICK
@given(slices())
def test_slices(case: Case) -> None:
    check(case)


@QUICK
@given(pads())
def test_pads(case: Case) -> None:
    check(case)


@QUICK
@given(reshapes())
def test_reshapes(case: Case) -> None:
    check(case)


@pytest.mark.slow
@THOROUGH
@given(MOVES)
def test_moves_many(case: Case) -> None:
    check(case)


@pytest.mark.parametrize("lanes", LANES)
def test_rows_that_no_split_can_align(lanes: int) -> None:
    before, after = (4, 6), (3, 8)
    source, y = (View.of(shape, Layout.rows(shape, 16)) for shape in (before, after))
    assert align(source, y) is None
    x = numbers(before, "uint8")
    check((Move(x=source, y=y, dtype="uint8", lanes=lanes), y, x, x.reshape(after)))


@pytest.mark.parametrize("lanes", LANES)
def test_changes_the_halo(lanes: int) -> None:
    shape = (2, 20, 5, 4)
    source = Layout.spatial(shape, 16, Halo(1, 1, 1, 1))
    target = Layout.spatial(shape, lanes, Halo(0, 3, 2, 0))
    template = Move.relayout(shape, source, target, dtype="int8", zero_point=-7, lanes=lanes)
    x = numbers(shape, "int8")
    check((template, template.y, x, x))


@pytest.mark.parametrize("lanes", LANES)
def test_pads_what_is_cropped_away(lanes: int) -> None:
    x, shape = numbers((2, 3, 1, 5), "uint8"), (2, 3, 1, 5)
    source, y = (View.of(shape, Layout.spatial(shape, 16)) for _ in range(2))
    template = Move.pad(source, y, (0, 0, 1, 0), 6, dtype="uint8", lanes=lanes)
    check((template, y, x, np.full_like(x, 6)))


@pytest.mark.parametrize("lanes", LANES)
def test_pads_channels_beside_others(lanes: int) -> None:
    x = numbers((1, 5, 4, 3), "uint8")
    source = View.of(x.shape, Layout.spatial(x.shape, 16))
    y = View.of((1, 9, 4, 3), Layout.spatial((1, 9, 4, 3), 16))
    expected = np.pad(x, [(0, 0), (0, 4), (0, 0), (0, 0)], constant_values=6)
    template = Move.pad(source, y, (0, 0, 0, 0), 6, dtype="uint8", lanes=lanes)
    check((template, y, x, expected))


def test_images_and_rows_of_equal_sizes_differ() -> None:
    shape = (1, 16, 1, 16)
    images, rows = Layout.spatial(shape), Layout.rows(shape)
    template = Move.relayout(shape, images, rows, dtype="uint8", lanes=LANES[-1])
    x = numbers(shape, "uint8")
    assert not np.array_equal(x, x.transpose(0, 3, 2, 1))
    check((template, template.y, x, x))


def test_sizes_must_agree() -> None:
    with pytest.raises(ValueError, match="has not as many elements"):
        Move(x=View.plain((2, 3)), y=View.plain((2, 4)), dtype="uint8")


def test_a_slice_stays_inside() -> None:
    with pytest.raises(ValueError, match=r"1\.\.3 is outside an axis of 3"):
        View.plain((3,)).slice((1,), (3,))


def test_a_layout_holds_one_shape() -> None:
    with pytest.raises(ValueError, match="does not hold a tensor of shape"):
        View.of((2, 3), Layout.rows((2, 4)))
