"""Float pools against plain loops over the taps, bit by bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcompile.targets.kernels.float_pool import FloatPool
from qcompile.targets.kernels.view import View
from qcompile.targets.kernels.window import Window
from qcompile.targets.layout import Layout
from tests.targets.buffers import LANES, Array, image, run, stored
from tests.targets.strategies import QUICK, SEEDS, THOROUGH
from tests.targets.test_pools import pools, shape_of


@st.composite
def float_pools(draw: st.DrawFn) -> FloatPool:
    x, y, window = draw(pools())
    mean = draw(st.booleans())
    return FloatPool(
        x=x,
        y=y,
        window=window,
        mean=mean,
        padding=mean and draw(st.booleans()),
        lanes=draw(st.sampled_from(LANES)),
        parallel=draw(st.booleans()),
    )


def answer(kernel: FloatPool, x: Array) -> Array:
    """Return each window's greatest number, or its sum in order over the count."""
    window, y = kernel.window, kernel.y
    result = np.zeros((y.n, y.c, y.h, y.w), np.float32)
    for h, w in np.ndindex(y.h, y.w):
        taken = [x[:, :, line, pixel] for line, pixel in inside(kernel, h, w)]
        start = np.full((y.n, y.c), 0 if kernel.mean else -np.inf, np.float32)
        for each in taken:
            start = start + each if kernel.mean else np.maximum(start, each)
        if kernel.mean:
            count = np.prod(window.kernel) if kernel.padding else len(taken)
            with np.errstate(invalid="ignore"):
                start = start / np.float32(count)
        result[:, :, h, w] = start
    return result


def inside(kernel: FloatPool, h: int, w: int) -> list[tuple[int, int]]:
    """Return the lines and pixels of a window that are in the image."""
    window, x = kernel.window, kernel.x
    places = []
    for kh, kw in np.ndindex(window.kernel):
        line = h * window.strides[0] + kh * window.dilations[0] - window.pads[0]
        pixel = w * window.strides[1] + kw * window.dilations[1] - window.pads[1]
        if 0 <= line < x.h and 0 <= pixel < x.w:
            places.append((line, pixel))
    return places


def check(kernel: FloatPool, seed: int) -> None:
    x = np.random.default_rng(seed).normal(0, 1, shape_of(kernel.x)).astype(np.float32)
    if seed % 4 == 0:
        x.reshape(-1)[seed % x.size] = np.nan
    output = run(kernel, [stored(x, kernel.x)], kernel.y, "float32")
    got = image(output, View.of(shape_of(kernel.y), kernel.y), 0)
    np.testing.assert_array_equal(got, answer(kernel, x))


@QUICK
@given(float_pools(), SEEDS)
def test_pool(kernel: FloatPool, seed: int) -> None:
    check(kernel, seed)


@pytest.mark.slow
@THOROUGH
@given(float_pools(), SEEDS)
def test_many_pools(kernel: FloatPool, seed: int) -> None:
    check(kernel, seed)


def test_a_global_mean() -> None:
    x = Layout.spatial((1, 40, 7, 7), 16)
    check(
        FloatPool(
            x=x,
            y=Layout.spatial((1, 40, 1, 1), 16),
            window=Window(kernel=(7, 7)),
            mean=True,
            lanes=LANES[0],
        ),
        1,
    )
