"""Random tensors and layouts for the property tests of kernels."""

from __future__ import annotations

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from qcompile.targets.kernels.epilogue import Epilogue
from qcompile.targets.kernels.view import View
from qcompile.targets.layout import Halo, Layout

QUICK = settings(max_examples=12, deadline=None, derandomize=True)
"""A kernel is compiled for every example: about 0.1 s."""
THOROUGH = settings(max_examples=300, deadline=None)

T8 = st.sampled_from(["uint8", "int8"])
SIZES = st.integers(1, 9)
CHANNELS = st.one_of(st.integers(1, 20), st.sampled_from([31, 32, 48, 64, 65, 100]))
PADDED = st.sampled_from([1, 4, 8, 16])
SEEDS = st.integers(0, 1000)
HALOS = st.one_of(
    st.just(Halo()), st.builds(Halo, *[st.integers(0, 3)] * 4), st.just(Halo(1, 1, 1, 1))
)


@st.composite
def shapes(draw: st.DrawFn, *, least: int = 0, most: int = 4) -> tuple[int, ...]:
    """Draw a shape; the last axis or, of four, axis 1 is the longest."""
    rank = draw(st.integers(least, most))
    if rank == 0:
        return ()
    shape = [draw(st.integers(1, 6)) for _ in range(rank)]
    shape[1 if rank == 4 and draw(st.booleans()) else -1] = draw(CHANNELS)
    return tuple(shape)


@st.composite
def views(draw: st.DrawFn, shape: tuple[int, ...], *, halo: bool = True) -> View:
    """Draw a layout of a shape: images or rows, padded or not."""
    if len(shape) == 4 and draw(st.booleans()):
        around = draw(HALOS) if halo else Halo()
        return View.of(shape, Layout.spatial(shape, draw(PADDED), around))
    return View.of(shape, Layout.rows(shape, draw(PADDED)))


def zero_points(dtype: str) -> st.SearchStrategy[int]:
    """Draw a zero point of a type."""
    return st.integers(0, 255) if dtype == "uint8" else st.integers(-128, 127)


@st.composite
def broadcast_shapes(draw: st.DrawFn, count: int) -> tuple[tuple[int, ...], ...]:
    """Draw shapes that broadcast together, and last what they broadcast to."""
    shape = draw(shapes())
    if draw(st.booleans()):
        return (shape,) * (count + 1)
    smaller = st.tuples(*(st.sampled_from((1, size)) for size in shape))
    cuts = st.integers(0, len(shape))
    drawn = [draw(smaller)[draw(cuts) if index else 0 :] for index in range(count)]
    return (*drawn, np.broadcast_shapes(*drawn))


@st.composite
def epilogues(draw: st.DrawFn) -> Epilogue:
    """Draw a last step: to 8 bits or to float, clamped or not."""
    dtype = draw(st.sampled_from(["uint8", "int8", "float32"]))
    zero_point = 0 if dtype == "float32" else draw(zero_points(dtype))
    return Epilogue(
        dtype=dtype,
        zero_point=zero_point,
        hi=draw(st.sampled_from([90.0, np.inf])),
        bounded=draw(st.booleans()),
    )
