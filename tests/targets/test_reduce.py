"""QReduceSum, ReduceMax and ReduceMin against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcompile.targets.kernels.epilogue import Epilogue
from qcompile.targets.kernels.reduce import Reduce, ReduceExtreme, ReduceSum
from qcompile.targets.kernels.view import View
from qcompile.targets.layout import Halo, Layout
from tests.targets.buffers import LANES, Array, image, last_step, run, stored
from tests.targets.strategies import (
    QUICK,
    SEEDS,
    T8,
    THOROUGH,
    epilogues,
    shapes,
    views,
    zero_points,
)


@st.composite
def templates(draw: st.DrawFn) -> Reduce:
    shape, dtype = draw(shapes()), draw(T8)
    axes = tuple(axis for axis in range(len(shape)) if draw(st.booleans()))
    keepdims, epilogue = draw(st.booleans()), draw(epilogues())
    total = draw(st.booleans())
    kept = [size for axis, size in enumerate(shape) if axis not in axes]
    ones = [1 if axis in axes else size for axis, size in enumerate(shape)]
    y = draw(views(tuple(ones if keepdims else kept), halo=epilogue.dtype != "float32"))
    options: dict[str, Any] = {
        "x": draw(views(shape)),
        "axes": axes,
        "y": y.without(axes) if keepdims else y,
        "x_dtype": dtype,
        "lanes": draw(st.sampled_from(LANES)),
        "parallel": draw(st.booleans()),
    }
    zero_point = draw(zero_points(dtype))
    if total:
        return ReduceSum(**options, x_zero_point=zero_point, epilogue=epilogue)
    return ReduceExtreme(**options, largest=draw(st.booleans()), zero_point=zero_point)


def check(template: Reduce, seed: int) -> None:
    rng = np.random.default_rng(seed)
    limits = np.iinfo(template.x_dtype)
    low, high = sorted(rng.integers(limits.min, limits.max + 2, 2))
    x = rng.integers(low, max(high, low + 1), template.x.shape).astype(template.x_dtype)
    multiplier = np.asarray([rng.uniform(0.001, 0.1)], np.float32)
    constants = [multiplier] if isinstance(template, ReduceSum) else []
    arguments = [stored(x, template.x.layout, seed), *constants]
    buffer = run(template, arguments, template.y.layout, template.y_dtype)
    got = image(buffer, template.y, template.y_zero_point)
    np.testing.assert_array_equal(got, expected(x, template, multiplier))


def expected(x: Array, template: Reduce, multiplier: Array) -> Array:
    if isinstance(template, ReduceExtreme):
        choose = np.max if template.largest else np.min
        return np.asarray(choose(x, axis=template.axes))
    assert isinstance(template, ReduceSum)
    acc = (x.astype(np.int64) - template.x_zero_point).sum(template.axes)
    return last_step(acc.astype(np.float32) * multiplier[0], template.epilogue)


@QUICK
@given(templates(), SEEDS)
def test_reduces(template: Reduce, seed: int) -> None:
    check(template, seed)


@pytest.mark.slow
@THOROUGH
@given(templates(), SEEDS)
def test_reduces_many(template: Reduce, seed: int) -> None:
    check(template, seed)


IMAGES = (1, 75, 7, 5)
CASES: dict[str, tuple[View, tuple[int, ...]]] = {
    "pixels": (View.of(IMAGES, Layout.spatial(IMAGES, 16, Halo(1, 1, 1, 1))), (2, 3)),
    "channels": (View.of(IMAGES, Layout.spatial(IMAGES, 16)), (1,)),
    "everything": (View.of(IMAGES, Layout.spatial(IMAGES, 16)), (0, 1, 2, 3)),
    "rows": (View.of((5, 200), Layout.rows((5, 200), 16)), (1,)),
    "a middle axis": (View.of((2, 9, 100), Layout.rows((2, 9, 100), 16)), (1,)),
    "nothing": (View.plain((3, 40)), ()),
}


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("name", CASES)
def test_common_forms(name: str, lanes: int) -> None:
    x, axes = CASES[name]
    y = View.plain([size for axis, size in enumerate(x.shape) if axis not in axes])
    step = Epilogue(dtype="int8", zero_point=-3)
    check(
        ReduceSum(
            x=x, axes=axes, y=y, x_dtype="uint8", x_zero_point=7, epilogue=step, lanes=lanes
        ),
        1,
    )
    check(ReduceExtreme(x=x, axes=axes, y=y, x_dtype="int8", largest=True, lanes=lanes), 2)
