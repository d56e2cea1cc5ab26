"""QSoftmax against the same arithmetic in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcompile.targets.kernels.epilogue import Epilogue
from qcompile.targets.kernels.softmax import Softmax
from qcompile.targets.kernels.view import View
from qcompile.targets.layout import Layout
from tests.targets.buffers import LANES, image, run, stored
from tests.targets.strategies import CHANNELS, PADDED, QUICK, SEEDS, T8, THOROUGH, zero_points


@st.composite
def templates(draw: st.DrawFn) -> tuple[Softmax, tuple[int, ...]]:
    y_dtype = draw(st.sampled_from(["uint8", "int8", "float32"]))
    if draw(st.booleans()):
        shape = (
            draw(st.integers(1, 2)),
            draw(CHANNELS),
            *draw(st.tuples(*[st.integers(1, 4)] * 2)),
        )
        layouts = [Layout.spatial(shape, draw(PADDED)) for _ in range(2)]
    else:
        shape = (draw(st.integers(1, 5)), draw(st.one_of(CHANNELS, st.just(1000))))
        layouts = [Layout.rows(shape, draw(PADDED)) for _ in range(2)]
    template = Softmax(
        x=layouts[0],
        y=layouts[1],
        dtype=draw(T8),
        epilogue=Epilogue(
            dtype=y_dtype, zero_point=0 if y_dtype == "float32" else draw(zero_points(y_dtype))
        ),
        lanes=draw(st.sampled_from(LANES)),
        parallel=draw(st.booleans()),
    )
    return template, shape


def check(template: Softmax, shape: tuple[int, ...], seed: int) -> None:
    rng = np.random.default_rng(seed)
    axis = 1 if template.x.image else -1
    bounds, epilogue = np.iinfo(template.dtype), template.epilogue
    x = rng.integers(bounds.min, bounds.max + 1, shape).astype(template.dtype)
    table = np.rint(np.exp(-np.arange(256) * rng.uniform(0.005, 0.3)) * 2**20).astype(np.int32)
    multiplier = np.float32(rng.choice([1.0, 255.0, 256 / 3]))
    entries = table[x.max(axis, keepdims=True).astype(np.int32) - x]
    total = entries.sum(axis, keepdims=True, dtype=np.int32).astype(np.float32)
    t = (entries.astype(np.float32) * multiplier) / total
    if epilogue.dtype != "float32":
        t = np.rint(t) + epilogue.zero_point
    expected = np.clip(t, epilogue.lo, epilogue.hi).astype(epilogue.dtype)
    arguments = [stored(x, template.x, seed), table, np.asarray([multiplier])]
    buffer = run(template, arguments, template.y, epilogue.dtype)
    got = image(buffer, View.of(shape, template.y), epilogue.zero_point)
    np.testing.assert_array_equal(got, expected)


@QUICK
@given(templates(), SEEDS)
def test_softmax(case: tuple[Softmax, tuple[int, ...]], seed: int) -> None:
    check(*case, seed)


@pytest.mark.slow
@THOROUGH
@given(templates(), SEEDS)
def test_softmax_many(case: tuple[Softmax, tuple[int, ...]], seed: int) -> None:
    check(*case, seed)


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("parallel", [False, True])
def test_softmax_of_attention(lanes: int, parallel: bool) -> None:
    layout = Layout.rows((3, 8, 197), 16)
    epilogue = Epilogue(dtype="uint8")
    template = Softmax(
        x=layout, y=layout, dtype="uint8", epilogue=epilogue, lanes=lanes, parallel=parallel
    )
    check(template, (3, 8, 197), 5)
