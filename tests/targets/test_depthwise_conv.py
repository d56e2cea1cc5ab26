"""The depthwise kernel against a plain integer reference, bit for bit."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcompile.targets.isa import Isa
from qcompile.targets.kernels.depthwise_conv import DepthwiseConv, Strip
from qcompile.targets.kernels.depthwise_parts import Parts
from qcompile.targets.kernels.depthwise_window import (
    Window,
    WindowTile,
    instructions,
    window_tiles,
)
from qcompile.targets.kernels.epilogue import Epilogue
from qcompile.targets.kernels.interleave import channel_order
from qcompile.targets.layout import Halo, Layout, round_up
from qcompile.targets.x86_isa import VNNI512
from tests.targets.convolutions import RUNNABLE, Data, compute, data, fields, reference
from tests.targets.emulator import CPUS, needs_emulator

QUICK = settings(max_examples=30, deadline=None, derandomize=True)
"""A kernel is compiled for every example: about 0.2 s."""
EMULATED = settings(max_examples=30, deadline=None, derandomize=True)
"""Linked and emulated as well: about 0.5 s."""


@st.composite
def kernels(draw: st.DrawFn, isas: Sequence[Isa]) -> DepthwiseConv:
    """Draw a depthwise kernel: quads, overlapping quads, and quads of several pixels."""
    channels = draw(st.one_of(st.integers(1, 64), st.sampled_from([96, 100, 112, 240])))
    shared = draw(fields(isas, inputs=channels, outputs=channels, depthwise=True))
    kernel = DepthwiseConv(**shared)
    rows, pixels = draw(st.integers(1, 4)), draw(st.integers(1, 7))
    pixels = min(pixels, kernel.window.reached(kernel.y.w))
    tile = WindowTile(min(rows, kernel.y.h), pixels)
    return dataclasses.replace(kernel, tile=draw(st.sampled_from([tile, kernel.tile])))


def cases(*isas: Isa) -> st.SearchStrategy[tuple[DepthwiseConv, Data]]:
    return kernels(isas).flatmap(lambda kernel: st.tuples(st.just(kernel), data(kernel)))


def check(case: tuple[DepthwiseConv, Data]) -> None:
    kernel, values = case
    assert np.array_equal(compute(kernel, values), reference(kernel, values))


@given(cases(*RUNNABLE))
@QUICK
def test_equals_reference(case: tuple[DepthwiseConv, Data]) -> None:
    check(case)


@pytest.mark.slow
@given(cases(*RUNNABLE))
@settings(max_examples=700, deadline=None)
def test_equals_reference_often(case: tuple[DepthwiseConv, Data]) -> None:
    check(case)


@needs_emulator
@pytest.mark.parametrize("isa", CPUS, ids=lambda isa: isa.name)
@given(drawn=st.data())
@EMULATED
def test_equals_reference_emulated(isa: Isa, drawn: st.DataObject) -> None:
    check(drawn.draw(cases(isa)))


@pytest.mark.slow
@needs_emulator
@pytest.mark.parametrize("isa", CPUS, ids=lambda isa: isa.name)
@given(drawn=st.data())
@settings(max_examples=200, deadline=None)
def test_equals_reference_emulated_often(isa: Isa, drawn: st.DataObject) -> None:
    check(drawn.draw(cases(isa)))


def kernel_of(channels: int, **changed: Any) -> DepthwiseConv:
    image = Layout(1, 6, 6, channels, round_up(channels, 16), Halo(1, 1, 1, 1))
    arguments = {
        "x": image,
        "y": image,
        "isa": VNNI512,
        "epilogue": Epilogue(dtype="uint8"),
        "kernel": (3, 3),
        "pads": (1, 1),
        **changed,
    }
    return DepthwiseConv(**arguments)


@pytest.mark.parametrize(
    ("channels", "strips"),
    [
        (16, [Strip(0, 1)]),
        (48, [Strip(0, 2), Strip(32, 1)]),
        (80, [Strip(0, 4), Strip(64, 1)]),
        (96, [Strip(0, 4), Strip(64, 2)]),
        (112, [Strip(0, 4), Strip(48, 4)]),
        (128, [Strip(0, 4), Strip(64, 4)]),
    ],
)
def test_strips(channels: int, strips: list[Strip]) -> None:
    assert kernel_of(channels).strips() == strips


def test_a_vector_that_ends_inside_the_output_stands_alone() -> None:
    y = Layout(1, 6, 6, 24, 24)
    assert kernel_of(24, y=y).strips() == [Strip(0, 1), Strip(16, 1)]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x": Layout(1, 6, 6, 16, 16)}, "windows from -1 to 6 leave 6 stored elements"),
        ({"y": Layout(1, 6, 6, 8, 16)}, "16 channels in, 8 out"),
        ({"x": Layout(1, 6, 6, 16, 12, Halo(1, 1, 1, 1))}, "padded to 16, got 12"),
    ],
)
def test_refuses(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kernel_of(16, **changed)


@pytest.mark.parametrize("lanes", [8, 16])
def test_a_quad_holds_each_channel_once(lanes: int) -> None:
    assert sorted(channel_order(lanes, 4)) == list(range(4 * lanes))


@pytest.mark.skipif(VNNI512 not in RUNNABLE, reason="needs AVX-512 VNNI")
@pytest.mark.parametrize("parallel", [False, True])
def test_more_lines_than_the_caches_hold(*, parallel: bool) -> None:
    image = Layout(2, 30, 20, 480, 480, Halo(1, 1, 1, 1))
    kernel = kernel_of(480, x=image, y=image, parallel=parallel)
    rng = np.random.default_rng(0)
    given = Data(
        x=rng.integers(0, 256, (2, 480, 30, 20), dtype=np.uint8),
        weight=rng.integers(-128, 128, (480, 1, 3, 3), dtype=np.int8),
        bias=rng.integers(-1000, 1000, 480),
        multiplier=rng.uniform(1e-4, 1e-3, 480).astype(np.float32),
        x_zero_point=3,
        residual=None,
        r_multiplier=np.float32(1),
    )
    check((kernel, given))


@pytest.mark.parametrize("vectors", [1, 2, 4])
def test_the_parts_of_a_line_are_all_of_it(vectors: int) -> None:
    for width in range(1, 20):
        image = Layout(1, 3, width, 16, 64, Halo(1, 1, 1, 1))
        parts = Parts(kernel_of(16, x=image, y=image), vectors)
        pixels = [{*range(start, start + parts.width)} for start in parts.starts()]
        assert len(pixels) * vectors == 4
        assert set.union(*pixels) == set(range(width))


@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (5, 5), (2, 7)])
@pytest.mark.parametrize("steps", [((1, 1), (1, 1)), ((2, 1), (1, 2)), ((1, 3), (3, 1))])
def test_dots_cover_every_tap_once(kernel: tuple[int, int], steps: Any) -> None:
    window = Window(kernel, *steps)
    groups = window.groups(3)
    taps = [
        (dot.row, dot.kw, kh)
        for dot in window.dots(3)
        for byte, kh in dot.bytes.items()
        if groups[dot.group][byte] == dot.row * steps[0][0] + kh * steps[1][0]
    ]
    assert sorted(taps) == list(np.ndindex(3, kernel[1], kernel[0]))


@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2), (3, 2), (4, 1)])
def test_columns_are_read_by_the_pixels_that_have_a_tap_there(
    kernel: int, stride: int, dilation: int
) -> None:
    window = Window((1, kernel), (1, stride), (1, dilation))
    found = {
        (pixel, kw)
        for column in window.columns(6)
        for kw, pixel in window.readers(column, 6).items()
    }
    assert found == set(np.ndindex(6, kernel))
    most = [window.readers(column, 99) for column in range(window.last + 1)]
    assert max(pixel for readers in most for pixel in readers.values()) < window.reached(99)


ROOM = VNNI512.registers - VNNI512.spare


@pytest.mark.parametrize(
    ("kernel", "stride", "tile"),
    [(3, 1, (2, 3)), (3, 2, (1, 2)), (5, 1, (1, 5)), (5, 2, (2, 3))],
)
def test_columns_are_taken_once(kernel: int, stride: int, tile: tuple[int, int]) -> None:
    window = Window((kernel, kernel), (stride, stride), (1, 1))
    best = window_tiles(window, (28, 28), ROOM)[0]
    assert best == WindowTile(*tile)
    assert best.pixels == window.reached(28)


def test_a_wide_window_is_cut_into_blocks() -> None:
    window = Window((7, 7), (1, 1), (1, 1))
    best = window_tiles(window, (28, 28), ROOM)[0]
    assert best.pixels < window.reached(28)
    assert 4 * best.rows * best.pixels + 4 <= ROOM
    costs = [instructions(window, tile, (28, 28), ROOM) for tile in (best, WindowTile(1, 1))]
    assert costs[0] < costs[1]
