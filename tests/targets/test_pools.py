"""QAveragePool and MaxPool against a plain loop over the taps."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from qcompile.targets.kernels.average_pool import AveragePool
from qcompile.targets.kernels.epilogue import Epilogue
from qcompile.targets.kernels.max_pool import MaxPool
from qcompile.targets.kernels.view import View
from qcompile.targets.kernels.window import Window
from qcompile.targets.layout import Halo, Layout
from tests.targets.buffers import LANES, Array, image, run, stored
from tests.targets.strategies import (
    CHANNELS,
    HALOS,
    PADDED,
    QUICK,
    SEEDS,
    SIZES,
    T8,
    THOROUGH,
    zero_points,
)


def shape_of(layout: Layout) -> tuple[int, int, int, int]:
    return layout.n, layout.c, layout.h, layout.w


def windows(x: Array, y: Layout, window: Window, outside: int) -> Array:
    """Return every tap of every window: (taps, n, c, h, w); outside the image a constant."""
    n, c, height, width = x.shape
    found = []
    for kh, kw in itertools.product(*(range(size) for size in window.kernel)):
        tap = np.full((n, c, y.h, y.w), outside, np.int64)
        for h, w in itertools.product(range(y.h), range(y.w)):
            line = h * window.strides[0] + kh * window.dilations[0] - window.pads[0]
            pixel = w * window.strides[1] + kw * window.dilations[1] - window.pads[1]
            if 0 <= line < height and 0 <= pixel < width:
                tap[:, :, h, w] = x[:, :, line, pixel]
        found.append(tap)
    return np.stack(found)


@st.composite
def pools(draw: st.DrawFn) -> tuple[Layout, Layout, Window]:
    """Draw images, outputs and a window; the last windows may hang over the far border."""
    n, c, h, w = draw(st.integers(1, 2)), draw(CHANNELS), draw(SIZES), draw(SIZES)
    pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
    kernel = draw(st.one_of(pairs, st.just((h, w))))
    window = Window(
        kernel=kernel,
        strides=draw(pairs),
        pads=(draw(st.integers(0, kernel[0])), draw(st.integers(0, kernel[1]))),
        dilations=draw(st.one_of(st.just((1, 1)), pairs)),
    )
    sizes = []
    for axis, size in enumerate((h, w)):
        reach = (window.kernel[axis] - 1) * window.dilations[axis] + 1
        room = size + window.pads[axis] + draw(st.integers(0, 2)) - reach
        assume(room >= 0)
        sizes.append(room // window.strides[axis] + 1)
    x = Layout.spatial((n, c, h, w), draw(PADDED), draw(HALOS))
    return x, Layout.spatial((n, c, *sizes), draw(PADDED), draw(HALOS)), window


@st.composite
def max_pools(draw: st.DrawFn) -> MaxPool:
    (x, y, window), dtype = draw(pools()), draw(T8)
    return MaxPool(
        x=x,
        y=y,
        window=window,
        dtype=dtype,
        zero_point=draw(zero_points(dtype)),
        lanes=draw(st.sampled_from(LANES)),
        parallel=draw(st.booleans()),
    )


def check_max(template: MaxPool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    bounds = np.iinfo(template.dtype)
    high = rng.integers(bounds.min + 1, bounds.max + 2)
    x = rng.integers(bounds.min, high, shape_of(template.x)).astype(template.dtype)
    buffer = run(template, [stored(x, template.x, seed)], template.y, template.dtype)
    got = image(buffer, View.of(shape_of(template.y), template.y), template.zero_point)
    expected = windows(x, template.y, template.window, int(bounds.min)).max(axis=0)
    np.testing.assert_array_equal(got, expected)


@QUICK
@given(max_pools(), SEEDS)
def test_max(template: MaxPool, seed: int) -> None:
    check_max(template, seed)


@pytest.mark.slow
@THOROUGH
@given(max_pools(), SEEDS)
def test_max_many(template: MaxPool, seed: int) -> None:
    check_max(template, seed)


@pytest.mark.parametrize("lanes", LANES)
def test_max_of_resnet(lanes: int) -> None:
    window = Window(kernel=(3, 3), strides=(2, 2), pads=(1, 1))
    x = Layout.spatial((1, 64, 12, 12), 16, Halo(1, 1, 1, 1))
    y = Layout.spatial((1, 64, 6, 6), 16)
    check_max(MaxPool(x=x, y=y, window=window, dtype="int8", zero_point=0, lanes=lanes), 0)


@st.composite
def average_pools(draw: st.DrawFn) -> AveragePool:
    (x, y, window), dtype = draw(pools()), draw(T8)
    y_dtype = draw(st.sampled_from(["uint8", "int8", "float32"]))
    zero_point = 0 if y_dtype == "float32" else draw(zero_points(y_dtype))
    return AveragePool(
        x=x,
        y=y,
        window=window,
        dtype=dtype,
        x_zero_point=draw(zero_points(dtype)),
        epilogue=Epilogue(
            dtype=y_dtype, zero_point=zero_point, hi=draw(st.sampled_from([70.0, np.inf]))
        ),
        per_position=draw(st.booleans()),
        lanes=draw(st.sampled_from(LANES)),
        parallel=draw(st.booleans()),
    )


def check_average(template: AveragePool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x_layout, y_layout, epilogue = template.x, template.y, template.epilogue
    bounds = np.iinfo(template.dtype)
    x = rng.integers(bounds.min, bounds.max + 1, shape_of(x_layout)).astype(template.dtype)
    positions = (y_layout.h, y_layout.w) if template.per_position else (1, 1)
    multiplier = rng.uniform(0.01, 0.5, positions).astype(np.float32)
    taps = windows(x, y_layout, template.window, template.x_zero_point)
    t = (taps - template.x_zero_point).sum(axis=0).astype(np.float32) * multiplier
    if epilogue.dtype != "float32":
        t = np.rint(t) + epilogue.zero_point
    expected = np.clip(t, epilogue.lo, epilogue.hi).astype(epilogue.dtype)
    arguments = [stored(x, x_layout, seed), multiplier]
    buffer = run(template, arguments, y_layout, epilogue.dtype)
    got = image(buffer, View.of(shape_of(y_layout), y_layout), epilogue.zero_point)
    np.testing.assert_array_equal(got, expected)


@QUICK
@given(average_pools(), SEEDS)
def test_average(template: AveragePool, seed: int) -> None:
    check_average(template, seed)


@pytest.mark.slow
@THOROUGH
@given(average_pools(), SEEDS)
def test_average_many(template: AveragePool, seed: int) -> None:
    check_average(template, seed)


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_global_average_leaves_no_gap_for_float(lanes: int, dtype: str) -> None:
    template = AveragePool(
        x=Layout.spatial((2, 75, 7, 5), 16),
        y=Layout.spatial((2, 75, 1, 1)),
        window=Window(kernel=(7, 5)),
        dtype="uint8",
        x_zero_point=11,
        epilogue=Epilogue(dtype=dtype),
        lanes=lanes,
    )
    check_average(template, 3)


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("value", [0, 255, -128, 127])
@pytest.mark.parametrize("size", [(16, 16), (1, 257), (3, 256), (257, 2)])
def test_sums_that_fill_16_bits(size: tuple[int, int], value: int, lanes: int) -> None:
    dtype = "int8" if value in (-128, 127) else "uint8"
    template = AveragePool(
        x=Layout.spatial((1, 5, *size)),
        y=Layout.spatial((1, 5, 1, 1)),
        window=Window(kernel=size),
        dtype=dtype,
        x_zero_point=3,
        epilogue=Epilogue(dtype="float32"),
        lanes=lanes,
    )
    x = np.full(template.x.size, value, dtype)
    got = run(template, [x, np.ones(1, np.float32)], template.y, "float32")
    np.testing.assert_array_equal(got, np.full(5, (value - 3) * math.prod(size), np.float32))
