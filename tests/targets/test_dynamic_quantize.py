"""The kernels of dynamic quantization against the oracle, bit for bit."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcompile.numerics import quantize
from qcompile.oracle.dynamic import grid
from qcompile.targets.kernels.dynamic_quantize import DynamicQuantize
from qcompile.targets.kernels.dynamic_range import DynamicRange
from qcompile.targets.kernels.flip import Flip
from qcompile.targets.kernels.scale_vector import ScaleVector
from qcompile.targets.kernels.view import View
from qcompile.targets.layout import Layout
from tests.targets.buffers import LANES, Array, places, run, run_all, stored
from tests.targets.strategies import QUICK, SEEDS, T8, THOROUGH, shapes, views
from tests.test_oracle_products import SPECIAL

lanes = st.sampled_from(LANES)


def check_range(x: npt.NDArray[np.float32], lanes: int) -> None:
    template = DynamicRange(size=x.size, lanes=lanes)
    outputs: list[Array] = [np.full(1, 77, np.float32), np.full(1, 77, np.uint8)]
    scale, zero_point = run_all(template, [x.reshape(-1), *outputs])[1:]
    expected = grid(x)
    np.testing.assert_array_equal(scale, expected[0].reshape(1), strict=True)
    np.testing.assert_array_equal(zero_point, expected[1].reshape(1), strict=True)


def check_quantized(x: npt.NDArray[np.float32], view: View, lanes: int) -> None:
    scale, zero_point = (each.reshape(1) for each in grid(x))
    template = DynamicQuantize(y=view, lanes=lanes, parallel=x.size % 2 == 0)
    buffer = run(template, [x, scale, zero_point], view.layout, "uint8")
    expected = quantize(x, scale[0], zero_point[0], ir.DataType.UINT8)
    np.testing.assert_array_equal(places(buffer, view), expected, strict=True)


def numbers(shape: tuple[int, ...], seed: int) -> npt.NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape) * 10.0 ** rng.integers(-40, 38)
    return np.asarray(x + rng.integers(-2, 3) * x.std(), np.float32)


@st.composite
def tensors(draw: st.DrawFn) -> tuple[npt.NDArray[np.float32], View]:
    shape = draw(shapes(least=1))
    return numbers(shape, draw(SEEDS)), draw(views(shape, halo=False))


@QUICK
@given(tensors(), lanes)
def test_quantizes(drawn: tuple[npt.NDArray[np.float32], View], lanes: int) -> None:
    x, view = drawn
    check_range(x, lanes)
    check_quantized(x, view, lanes)


@pytest.mark.slow
@THOROUGH
@given(tensors(), lanes)
def test_quantizes_many(drawn: tuple[npt.NDArray[np.float32], View], lanes: int) -> None:
    x, view = drawn
    check_range(x, lanes)
    check_quantized(x, view, lanes)


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("values", SPECIAL.values(), ids=SPECIAL)
def test_special_ranges(values: list[float], lanes: int) -> None:
    x = np.array(values, np.float32)
    check_range(x, lanes)
    check_quantized(x, View.plain(x.shape), lanes)


@QUICK
@given(st.integers(1, 70), T8, st.sampled_from([0, 128, -128]), SEEDS, lanes)
def test_scales_a_vector(size: int, dtype: str, offset: int, seed: int, lanes: int) -> None:
    rng = np.random.default_rng(seed)
    number = rng.integers(0, 100, 1).astype(dtype)
    sums = rng.integers(-(2**20), 2**20, size).astype(np.int32)
    template = ScaleVector(
        size=size, number_dtype=dtype, dtype="int32", offset=offset, lanes=lanes
    )
    got = run(template, [number, sums], Layout.rows((size,)), "int32")
    np.testing.assert_array_equal(got, (int(number[0]) + offset) * sums, strict=True)
    factors = rng.standard_normal(size).astype(np.float32)
    real = rng.standard_normal(1).astype(np.float32)
    template = ScaleVector(size=size, number_dtype="float32", dtype="float32", lanes=lanes)
    got = run(template, [real, factors], Layout.rows((size,)), "float32")
    np.testing.assert_array_equal(got, real * factors, strict=True)


@st.composite
def flips(draw: st.DrawFn) -> tuple[Array, Flip]:
    shape, dtype = draw(shapes(least=1)), draw(T8)
    rng, info = np.random.default_rng(draw(SEEDS)), np.iinfo(dtype)
    x = rng.integers(info.min, info.max + 1, shape).astype(dtype)
    template = Flip(
        x=draw(views(shape)),
        y=draw(views(shape, halo=False)),
        dtype=dtype,
        lanes=draw(lanes),
    )
    return x, template


@QUICK
@given(flips())
def test_flips(drawn: tuple[Array, Flip]) -> None:
    x, template = drawn
    other = "int8" if template.dtype == "uint8" else "uint8"
    buffer = run(template, [stored(x, template.x.layout)], template.y.layout, other)
    shift = 128 if other == "uint8" else -128
    expected = (x.astype(int) + shift).astype(other)
    np.testing.assert_array_equal(places(buffer, template.y), expected, strict=True)
