"""Float products against the chain of fused multiply-adds that they say they are."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcompile.numerics import fma32
from qcompile.targets.arm_isa import NEON
from qcompile.targets.isa import Isa
from qcompile.targets.kernels.float_conv import FloatConv
from qcompile.targets.kernels.float_depthwise import FloatDepthwise
from qcompile.targets.kernels.float_end import FloatEnd
from qcompile.targets.layout import Halo, Layout, round_up
from tests.targets import convolutions, emulator
from tests.targets.strategies import QUICK, SEEDS, THOROUGH

F32 = npt.NDArray[np.float32]
Kernel = FloatConv | FloatDepthwise
ISAS = [*convolutions.RUNNABLE, *([NEON] if emulator.READY else [])]
SIZES = st.integers(1, 9)
ENDS = st.sampled_from(
    [FloatEnd(), FloatEnd(lo=0.0), FloatEnd(lo=-0.5, hi=0.75), FloatEnd(function="Neg")]
)
HALOS = st.sampled_from([Halo(), Halo(1, 1, 1, 1), Halo(0, 2, 1, 0)])


@st.composite
def windows(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a window and the sizes of input and output."""
    kernel = draw(st.one_of(st.just((1, 1)), st.tuples(SIZES, SIZES).map(_small)))
    strides, dilations = (draw(st.tuples(*[st.integers(1, 2)] * 2)) for _ in range(2))
    size, out, pads, behind = (draw(SIZES), draw(SIZES)), [0, 0], [0, 0], [0, 0]
    for axis in range(2):
        reach = (kernel[axis] - 1) * dilations[axis]
        pads[axis] = draw(st.integers(0, reach))
        behind[axis] = draw(st.integers(max(0, reach + 1 - size[axis] - pads[axis]), reach))
        total = size[axis] + pads[axis] + behind[axis]
        out[axis] = (total - reach - 1) // strides[axis] + 1
    return {
        "n": draw(st.integers(1, 2)),
        "size": size,
        "out": tuple(out),
        "halo": Halo(pads[0], pads[1], *behind),
        "fields": {
            "kernel": kernel,
            "strides": strides,
            "dilations": dilations,
            "pads": tuple(pads),
            "end": draw(ENDS),
            "parallel": draw(st.booleans()),
        },
    }


def _small(pair: tuple[int, int]) -> tuple[int, int]:
    return (pair[0] - 1) % 4 + 1, (pair[1] - 1) % 4 + 1


@st.composite
def convs(draw: st.DrawFn) -> FloatConv:
    """Draw a convolution: grouped or not, channels padded or not."""
    window, isa = draw(windows()), draw(st.sampled_from(ISAS))
    group = draw(st.sampled_from([1, 1, 2, 3]))
    inputs = group * draw(st.integers(1, 7))
    outputs = group * draw(st.one_of(st.integers(1, 20), st.sampled_from([32, 40, 70])))
    step = draw(st.sampled_from([1, isa.lanes]))
    h, w = window["out"]
    y = Layout(window["n"], h, w, outputs, round_up(outputs, step), draw(HALOS))
    residual = None
    if draw(st.booleans()):
        padded = round_up(outputs, draw(st.sampled_from([1, isa.lanes])))
        residual = dataclasses.replace(y, c_pad=padded, halo=draw(HALOS))
    x = Layout(
        window["n"],
        window["size"][0],
        window["size"][1],
        inputs,
        inputs + draw(st.sampled_from([0, 3])),
        window["halo"],
    )
    return FloatConv(
        x=x,
        y=y,
        isa=isa,
        group=group,
        late=draw(st.booleans()),
        residual=residual,
        **window["fields"],
    )


@st.composite
def depthwise(draw: st.DrawFn) -> FloatDepthwise:
    """Draw a convolution of every channel by itself."""
    window, isa = draw(windows()), draw(st.sampled_from(ISAS))
    channels = draw(st.integers(1, 40))
    stored = round_up(channels, isa.lanes)
    h, w = window["out"]
    return FloatDepthwise(
        x=Layout(
            window["n"], window["size"][0], window["size"][1], channels, stored, window["halo"]
        ),
        y=Layout(window["n"], h, w, channels, stored, draw(HALOS)),
        isa=isa,
        **window["fields"],
    )


def check(kernel: Kernel, seed: int) -> None:
    """Compare a kernel on random numbers with its chain; no padding may be read or written."""
    rng = np.random.default_rng(seed)
    x, y = kernel.x, kernel.y
    group = kernel.group if isinstance(kernel, FloatConv) else x.c
    numbers = rng.normal(0, 1, (x.n, x.c, x.h, x.w)).astype(np.float32)
    weight = rng.normal(0, 1, (y.c, x.c // group, *kernel.kernel)).astype(np.float32)
    bias = rng.normal(0, 1, y.c).astype(np.float32) if seed % 3 else None
    arrays = [stored(numbers, x, 0), *kernel.pack(weight, bias)]
    late = isinstance(kernel, FloatConv) and kernel.late
    expected = chain(kernel, numbers, weight, None if late else bias, group)
    if late and bias is not None:
        expected = expected + bias[:, None, None]
    if isinstance(kernel, FloatConv) and kernel.residual is not None:
        residual = rng.normal(0, 1, expected.shape).astype(np.float32)
        arrays.append(stored(residual, kernel.residual, math.nan))
        expected = expected + residual
    end = kernel.end
    expected = np.clip(expected, np.float32(end.lo), np.float32(end.hi))
    expected = -expected if end.function == "Neg" else expected
    output = convolutions.run(kernel, [*arrays, np.full(y.size, 77, np.float32)])
    lines = output.reshape(y.n, y.stored_h, y.stored_w, y.c_pad)
    inside = np.zeros(lines.shape, bool)
    rows, columns = (slice(a, a + b) for a, b in ((y.halo.top, y.h), (y.halo.left, y.w)))
    inside[:, rows, columns] = True
    assert (lines[~inside] == 0).all()
    np.testing.assert_array_equal(
        lines[:, rows, columns, : y.c].transpose(0, 3, 1, 2), expected
    )


def chain(kernel: Kernel, x: F32, weight: F32, bias: F32 | None, group: int) -> F32:
    """Return bias + sum(x * weight), tap by tap, channel by channel."""
    layout, y, halo = kernel.x, kernel.y, kernel.x.halo
    padded = np.zeros((layout.n, layout.c, layout.stored_h, layout.stored_w), np.float32)
    padded[:, :, halo.top : halo.top + layout.h, halo.left : halo.left + layout.w] = x
    acc = np.zeros((y.n, y.c, y.h, y.w), np.float32)
    if bias is not None:
        acc += bias[:, None, None]
    depth, outputs = layout.c // group, y.c // group
    of_group = np.arange(y.c) // outputs * depth
    for kh, kw in np.ndindex(kernel.kernel):
        top = halo.top - kernel.pads[0] + kh * kernel.dilations[0]
        left = halo.left - kernel.pads[1] + kw * kernel.dilations[1]
        rows = slice(top, top + (y.h - 1) * kernel.strides[0] + 1, kernel.strides[0])
        columns = slice(left, left + (y.w - 1) * kernel.strides[1] + 1, kernel.strides[1])
        for k in range(depth):
            source = padded[:, of_group + k, rows, columns]
            factor = np.broadcast_to(weight[:, k, kh, kw][:, None, None], acc.shape)
            acc = fma32(source, factor, acc)
    return acc


def stored(array: F32, layout: Layout, halo: float) -> F32:
    """Return the buffer of (n, c, h, w); NaN where there is only padding."""
    shape = (layout.n, layout.stored_h, layout.stored_w, layout.c_pad)
    buffer = np.full(shape, np.nan, np.float32)
    buffer[..., : layout.c] = halo
    top, left = layout.halo.top, layout.halo.left
    inside = buffer[:, top : top + layout.h, left : left + layout.w, : layout.c]
    inside[...] = array.transpose(0, 2, 3, 1)
    return buffer.reshape(-1)


@QUICK
@given(convs(), SEEDS)
def test_conv(kernel: FloatConv, seed: int) -> None:
    check(kernel, seed)


@pytest.mark.slow
@THOROUGH
@given(convs(), SEEDS)
def test_many_convs(kernel: FloatConv, seed: int) -> None:
    check(kernel, seed)


@QUICK
@given(depthwise(), SEEDS)
def test_depthwise(kernel: FloatDepthwise, seed: int) -> None:
    check(kernel, seed)


@pytest.mark.slow
@THOROUGH
@given(depthwise(), SEEDS)
def test_many_depthwise(kernel: FloatDepthwise, seed: int) -> None:
    check(kernel, seed)


@pytest.mark.parametrize("isa", ISAS, ids=lambda isa: isa.name)
@pytest.mark.parametrize(("depth", "heavy"), [(20, False), (300, True)])
def test_a_matrix_product_of_many_columns(isa: Isa, depth: int, heavy: bool) -> None:
    """Threads share rows, or blocks of columns where the weights fill the cache."""
    rows, columns = 5, 601
    kernel = FloatConv(
        x=Layout.rows((rows, depth)),
        y=Layout.rows((rows, columns)),
        isa=isa,
        parallel=True,
    )
    assert kernel.heavy == heavy
    check(kernel, 1)


def test_nan_stays_nan() -> None:
    kernel = FloatConv(
        x=Layout.rows((1, 2)),
        y=Layout.rows((1, 3)),
        isa=ISAS[0],
        end=FloatEnd(lo=0.0, hi=6.0),
    )
    x = np.array([np.nan, 1], np.float32)
    weight = np.ones((3, 2, 1, 1), np.float32)
    y = convolutions.run(kernel, [x, *kernel.pack(weight, None), np.zeros(3, np.float32)])
    assert np.isnan(y).all()


def test_stored_channels_of_depthwise_are_whole_vectors() -> None:
    with pytest.raises(ValueError, match="whole vectors"):
        FloatDepthwise(
            x=Layout(1, 3, 3, 5, 5), y=Layout(1, 3, 3, 5, 5), isa=ISAS[0], kernel=(1, 1)
        )
