"""QResize against NumPy's integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcompile.targets.kernels.epilogue import Epilogue
from qcompile.targets.kernels.resize import Resize
from qcompile.targets.kernels.view import View
from qcompile.targets.layout import Halo, Layout
from qcompile.targets.rules.resize import as_images
from tests.targets.buffers import LANES, Array, image, last_step, run, stored
from tests.targets.strategies import (
    CHANNELS,
    HALOS,
    PADDED,
    QUICK,
    SEEDS,
    SIZES,
    T8,
    THOROUGH,
    epilogues,
    zero_points,
)

ONE = 1 << 11


@st.composite
def templates(draw: st.DrawFn) -> Resize:
    n, c = draw(st.integers(1, 2)), draw(CHANNELS)
    epilogue, dtype = draw(epilogues()), draw(T8)
    before, after = (n, c, draw(SIZES), draw(SIZES)), (n, c, draw(SIZES), draw(SIZES))
    source = Layout.spatial(before, draw(PADDED), draw(HALOS))
    halo = Halo() if epilogue.dtype == "float32" else draw(HALOS)
    target = Layout.spatial(after, draw(PADDED), halo)
    return Resize(
        x=View.of(before, source),
        y=View.of(after, target),
        dtype=dtype,
        x_zero_point=draw(zero_points(dtype)),
        epilogue=epilogue,
        lanes=draw(st.sampled_from(LANES)),
        parallel=draw(st.booleans()),
    )


def tables(rng: np.random.Generator, size: int, count: int) -> tuple[Array, Array]:
    """Return any two places a number and weights that sum to one."""
    first = rng.integers(0, ONE + 1, count, dtype=np.int32)
    index = rng.integers(0, size, (count, 2), dtype=np.int32)
    return index, np.stack([ONE - first, first], axis=1).astype(np.int32)


def check(template: Resize, seed: int, ends: bool = False) -> None:
    rng = np.random.default_rng(seed)
    info = np.iinfo(template.dtype)
    x = rng.integers(info.min, info.max + 1, template.x.shape).astype(template.dtype)
    if ends:
        x = np.where(x > x.mean(), info.max, info.min).astype(template.dtype)
    rows, row_weights = tables(rng, x.shape[2], template.y.shape[2])
    columns, column_weights = tables(rng, x.shape[3], template.y.shape[3])
    factor = np.float32(rng.uniform(0.5, 2) * 2.0**-22)
    arguments = [stored(x, template.x.layout, seed), rows, row_weights, columns]
    arguments += [column_weights, np.asarray([factor])]
    buffer = run(template, arguments, template.y.layout, template.epilogue.dtype)
    got = image(buffer, template.y, template.epilogue.zero_point)
    acc = np.zeros(template.y.shape, np.int64)
    steps = x.astype(np.int64) - template.x_zero_point
    for i in range(2):
        for j in range(2):
            weight = row_weights[:, i, None].astype(np.int64) * column_weights[:, j]
            acc += weight * steps[:, :, rows[:, i]][..., columns[:, j]]
    assert np.abs(acc).max() < 1 << 31
    expected = last_step(acc.astype(np.float32) * factor, template.epilogue)
    np.testing.assert_array_equal(got, expected)


@QUICK
@given(templates(), SEEDS)
def test_resizes(template: Resize, seed: int) -> None:
    check(template, seed)


@pytest.mark.slow
@THOROUGH
@given(templates(), SEEDS)
def test_resizes_many(template: Resize, seed: int) -> None:
    check(template, seed)


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize(("dtype", "zero"), [("uint8", 0), ("uint8", 255), ("int8", -128)])
def test_the_largest_sums(dtype: str, zero: int, lanes: int) -> None:
    before, after = (1, 40, 3, 3), (1, 40, 5, 4)
    template = Resize(
        x=View.of(before, Layout.spatial(before, 16)),
        y=View.of(after, Layout.spatial(after, 16)),
        dtype=dtype,
        x_zero_point=zero,
        epilogue=Epilogue(dtype="float32"),
        lanes=lanes,
    )
    check(template, 0, ends=True)


@pytest.mark.parametrize("lanes", LANES)
def test_rows(lanes: int) -> None:
    """The last two axes of any tensor are images of one channel."""
    before, after = (2, 3, 4, 5, 6), (2, 3, 4, 7, 3)
    x = View.of(before, Layout.rows(before, 16))
    template = Resize(
        x=as_images(x),
        y=as_images(View.of(after, Layout.rows(after, 16))),
        dtype="int8",
        x_zero_point=3,
        epilogue=Epilogue(dtype="int8", zero_point=-7),
        lanes=lanes,
    )
    assert template.x.shape == (24, 1, 5, 6)
    check(template, 0)


def test_images_keep_their_channels() -> None:
    x, y = View.plain((1, 2, 3, 4)), View.plain((1, 3, 3, 4))
    with pytest.raises(ValueError, match="do not become"):
        Resize(x=x, y=y, dtype="int8", x_zero_point=0, epilogue=Epilogue(dtype="int8"))
