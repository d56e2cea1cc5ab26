"""QuantizeLinear and DequantizeLinear kernels against plain NumPy."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcompile.targets.kernels.dequantize import Dequantize
from qcompile.targets.kernels.quantize import Quantize
from qcompile.targets.kernels.quotient import must_divide
from qcompile.targets.kernels.view import View
from qcompile.targets.layout import Halo, Layout
from tests.targets.buffers import LANES, Array, image, places, run, stored
from tests.targets.strategies import QUICK, SEEDS, T8, THOROUGH, shapes, views, zero_points


def quantized(x: Array, scale: np.float32, zero_point: int, dtype: str) -> Array:
    bounds = np.iinfo(dtype)
    t = np.rint(x / scale).astype(np.float64) + zero_point
    return np.where(np.isnan(t), bounds.min, np.clip(t, bounds.min, bounds.max)).astype(dtype)


def check_quantize(template: Quantize, seed: int, x: Array | None = None) -> None:
    rng = np.random.default_rng(seed)
    scale = np.float32(rng.uniform(0.01, 0.1))
    if x is None:
        x = (rng.standard_normal(template.y.shape) * 8).astype(np.float32)
        steps = rng.integers(-20, 20, template.y.shape) + np.float32(0.5)
        x = np.where(rng.random(x.shape) < 0.3, steps * scale, x).astype(np.float32)
    arguments = [np.asarray(x), np.asarray([scale])]
    buffer = run(template, arguments, template.y.layout, template.dtype)
    got = image(buffer, template.y, template.zero_point)
    expected = quantized(np.asarray(x), scale, template.zero_point, template.dtype)
    np.testing.assert_array_equal(got, expected)


@st.composite
def quantize_templates(draw: st.DrawFn) -> Quantize:
    shape, dtype = draw(shapes()), draw(T8)
    return Quantize(
        y=draw(views(shape)),
        dtype=dtype,
        zero_point=draw(zero_points(dtype)),
        lanes=draw(st.sampled_from(LANES)),
        parallel=draw(st.booleans()),
    )


@QUICK
@given(quantize_templates(), SEEDS)
def test_quantizes(template: Quantize, seed: int) -> None:
    check_quantize(template, seed)


@pytest.mark.slow
@THOROUGH
@given(quantize_templates(), SEEDS)
def test_quantizes_many(template: Quantize, seed: int) -> None:
    check_quantize(template, seed)


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("width", [1, 5, 8, 37])
def test_packs_the_pixels_of_a_network_input(
    lanes: int, dtype: str, channels: int, width: int
) -> None:
    shape = (2, channels, 3, width)
    y = View.of(shape, Layout.spatial(shape, 4, Halo(1, 2, 0, 3)))
    check_quantize(Quantize(y=y, dtype=dtype, zero_point=5, lanes=lanes), seed=width)


@st.composite
def transposed_templates(draw: st.DrawFn) -> Quantize:
    """Draw a kernel that quantizes the transpose of floats, in one shape or another."""
    plain = draw(quantize_templates())
    order = draw(st.permutations(range(len(plain.y.shape))))
    shape = tuple(plain.y.shape[order.index(axis)] for axis in range(len(order)))
    turned = View.plain(shape).transpose(order)
    merged = turned.reshape((math.prod(shape),)) if draw(st.booleans()) else None
    return dataclasses.replace(plain, x=merged or turned)


def check_transposed(template: Quantize, seed: int) -> None:
    assert template.x is not None
    rng = np.random.default_rng(seed)
    floats = (rng.standard_normal(template.x.layout.size) * 8).astype(np.float32)
    scale = np.float32(rng.uniform(0.01, 0.1))
    arguments = [floats, np.asarray([scale])]
    buffer = run(template, arguments, template.y.layout, template.dtype)
    got = image(buffer, template.y, template.zero_point)
    x = places(floats, template.x).reshape(template.y.shape)
    expected = quantized(x, scale, template.zero_point, template.dtype)
    np.testing.assert_array_equal(got, expected)


@QUICK
@given(transposed_templates(), SEEDS)
def test_quantizes_a_view(template: Quantize, seed: int) -> None:
    check_transposed(template, seed)


@pytest.mark.slow
@THOROUGH
@given(transposed_templates(), SEEDS)
def test_quantizes_a_view_many(template: Quantize, seed: int) -> None:
    check_transposed(template, seed)


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("width", [1, 5, 37])
def test_packs_the_pixels_of_a_channels_last_input(lanes: int, width: int) -> None:
    shape = (2, 3, 4, width)
    y = View.of(shape, Layout.spatial(shape, 4, Halo(1, 2, 0, 3)))
    x = View.plain((2, 4, width, 3)).transpose((0, 3, 1, 2))
    check_transposed(Quantize(x=x, y=y, dtype="int8", zero_point=5, lanes=lanes), width)


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize(("dtype", "zero_point"), [("uint8", 0), ("uint8", 255), ("int8", -3)])
def test_what_is_no_number_is_the_lowest(lanes: int, dtype: str, zero_point: int) -> None:
    special = [np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45, -0.0, 0.0, -np.nan, 1e9, -1e9]
    for shape in [(1, 3, 1, 11), (1, 11)]:
        x = np.broadcast_to(np.array(special, np.float32), shape)
        layout = Layout.spatial(shape, 4) if len(shape) == 4 else Layout.rows(shape, lanes)
        template = Quantize(
            y=View.of(shape, layout), dtype=dtype, zero_point=zero_point, lanes=lanes
        )
        with np.errstate(invalid="ignore", over="ignore"):
            check_quantize(template, 0, np.ascontiguousarray(x))


@pytest.mark.parametrize("lanes", LANES)
def test_narrow_images_whose_columns_lie_together(lanes: int) -> None:
    shape = (1, 3, 20, 5)
    y = View.of(shape, Layout.spatial(shape, 4, Halo(1, 2, 0, 3)))
    x = View.plain((1, 3, 5, 20)).transpose((0, 1, 3, 2))
    check_transposed(Quantize(x=x, y=y, dtype="int8", zero_point=5, lanes=lanes), 1)


def scales(rng: np.random.Generator, count: int) -> Array:
    """Return scales of every kind: round ones, mantissas of ones, the ends of what is safe."""
    mantissas = rng.integers(0, 1 << 23, count)
    mantissas[: count // 4] = (1 << 23) - 1 - np.arange(count // 4)
    mantissas[count // 4 : count // 2] = np.arange(count // 2 - count // 4)
    exponents = rng.integers(-20, 8, count)
    exponents[::5] = rng.choice([-100, -99, 98, 99], len(exponents[::5]))
    return np.asarray(np.ldexp(1 + mantissas * 2.0**-23, exponents), np.float32)


def hard_numbers(rng: np.random.Generator, scale: np.float32, count: int) -> Array:
    """Return floats whose quotients are next to the middle of two integers, and all ends."""
    steps = rng.integers(-260, 260, count) + 0.5
    with np.errstate(over="ignore"):
        near = (steps * scale).astype(np.float32).view(np.int32)
    near += rng.integers(-3, 4, count, np.int32)
    special = [np.nan, np.inf, -np.inf, 3.4e38, -3.4e38, 1e-45, -1e-45, 1e-38, 0.0, -0.0]
    return np.concatenate([near.view(np.float32), np.array(special, np.float32)])


def check_quotients(lanes: int, count: int, each: int) -> None:
    """Check that what no division computes is what a division gives."""
    rng = np.random.default_rng(0)
    view = View.plain((each + 10,))
    for number, scale in enumerate(scales(rng, count)):
        dtype, zero_point = (("uint8", 0), ("uint8", 128), ("int8", -128))[number % 3]
        assert not must_divide(float(scale))
        x = hard_numbers(rng, scale, each)
        template = Quantize(y=view, dtype=dtype, zero_point=zero_point, lanes=lanes)
        got = run(template, [x, np.array([scale])], view.layout, dtype)
        with np.errstate(all="ignore"):
            expected = quantized(x, scale, zero_point, dtype)
        np.testing.assert_array_equal(got, expected, err_msg=float(scale).hex())


@pytest.mark.parametrize("lanes", LANES)
def test_quotients_as_of_a_division(lanes: int) -> None:
    check_quotients(lanes, 20, 5_000)


@pytest.mark.slow
@pytest.mark.parametrize("lanes", LANES)
def test_quotients_as_of_a_division_many(lanes: int) -> None:
    check_quotients(lanes, 100, 50_000)


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("scale", [1e-45, 1e-38, 2.0**-101, 2.0**101, 3.4e38])
def test_scales_that_are_divided_by(scale: float, lanes: int) -> None:
    assert must_divide(scale)
    x = hard_numbers(np.random.default_rng(1), np.float32(scale), 500)
    view = View.plain(x.shape)
    template = Quantize(y=view, dtype="uint8", zero_point=7, divide=True, lanes=lanes)
    got = run(template, [x, np.array([scale], np.float32)], view.layout, "uint8")
    with np.errstate(all="ignore"):
        expected = quantized(x, np.float32(scale), 7, "uint8")
    np.testing.assert_array_equal(got, expected)


@st.composite
def dequantize_templates(draw: st.DrawFn) -> Dequantize:
    shape, dtype = draw(shapes()), draw(T8)
    return Dequantize(
        x=draw(views(shape)),
        dtype=dtype,
        zero_point=draw(zero_points(dtype)),
        lanes=draw(st.sampled_from(LANES)),
        parallel=draw(st.booleans()),
    )


def check_dequantize(template: Dequantize, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scale = np.float32(rng.uniform(0.001, 0.1))
    bounds = np.iinfo(template.dtype)
    shape = template.x.shape
    x = rng.integers(bounds.min, bounds.max + 1, shape).astype(template.dtype)
    arguments = [stored(x, template.x.layout, seed), np.asarray([scale])]
    got = run(template, arguments, Layout.rows(shape), "float32").reshape(shape)
    expected = (x.astype(np.int32) - template.zero_point).astype(np.float32) * scale
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("lanes", LANES)
def test_dequantizes_a_transpose(lanes: int) -> None:
    shape = (2, 20, 3, 5)
    layout = Layout.spatial(shape, 16, Halo(1, 0, 2, 1))
    turned = View.of(shape, layout).transpose((0, 2, 3, 1))
    template = Dequantize(x=turned, dtype="int8", zero_point=-3, lanes=lanes)
    x = np.random.default_rng(0).integers(-128, 128, shape).astype(np.int8)
    arguments = [stored(x, layout), np.asarray([0.5], np.float32)]
    got = run(template, arguments, Layout.rows(turned.shape), "float32")
    expected = (x.transpose(0, 2, 3, 1) + np.float32(3)) * np.float32(0.5)
    np.testing.assert_array_equal(got.reshape(turned.shape), expected)


@QUICK
@given(dequantize_templates(), SEEDS)
def test_dequantizes(template: Dequantize, seed: int) -> None:
    check_dequantize(template, seed)


@pytest.mark.slow
@THOROUGH
@given(dequantize_templates(), SEEDS)
def test_dequantizes_many(template: Dequantize, seed: int) -> None:
    check_dequantize(template, seed)
