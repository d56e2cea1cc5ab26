"""Kernels over rows of floats against float64: LayerNormalization, Softmax, ReduceMean."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcompile.targets.kernels.float_softmax import FloatSoftmax
from qcompile.targets.kernels.layer_norm import LayerNorm
from qcompile.targets.kernels.row_mean import RowMean
from qcompile.targets.kernels.row_output import RowOutput
from qcompile.targets.kernels.view import View
from qcompile.targets.layout import Layout
from tests.targets.buffers import LANES, Array, places, run_all
from tests.targets.strategies import PADDED, QUICK, SEEDS, T8, THOROUGH, zero_points

F64 = npt.NDArray[np.float64]
Kernel = LayerNorm | FloatSoftmax

UNIT = 2.0**-24
"""Relative error of one rounding."""

CHANNELS = st.one_of(st.integers(1, 50), st.sampled_from([64, 197, 257, 384, 700]))


@st.composite
def row_outputs(draw: st.DrawFn, rows: int, channels: int) -> RowOutput:
    """Draw what is stored: y, q, or both."""
    real = draw(st.booleans())
    if real and draw(st.booleans()):
        return RowOutput()
    dtype = draw(T8)
    return RowOutput(
        real=real,
        q=Layout.rows((rows, channels), draw(PADDED)),
        dtype=dtype,
        zero_point=draw(zero_points(dtype)),
        factor=draw(st.booleans()),
    )


@st.composite
def layer_norms(draw: st.DrawFn) -> LayerNorm:
    rows, channels = draw(st.integers(1, 6)), draw(CHANNELS)
    return LayerNorm(
        rows=rows,
        channels=channels,
        epsilon=draw(st.sampled_from([1e-12, 1e-5])),
        bias=draw(st.booleans()),
        output=draw(row_outputs(rows, channels)),
        lanes=draw(st.sampled_from(LANES)),
        parallel=draw(st.booleans()),
    )


@st.composite
def softmaxes(draw: st.DrawFn) -> tuple[FloatSoftmax, tuple[int, ...]]:
    """Draw a kernel over [a, b, n] and the shape of its mask."""
    a, b, channels = draw(st.integers(1, 3)), draw(st.integers(1, 4)), draw(CHANNELS)
    shape = (a, b, channels)
    mask = tuple(draw(st.sampled_from((1, size))) for size in shape)
    output = draw(row_outputs(a * b, channels))
    template = FloatSoftmax(
        rows=a * b,
        channels=channels,
        mask=View.plain(mask).broadcast_to(shape) if draw(st.booleans()) else None,
        output=dataclasses.replace(output, factor=False),
        lanes=draw(st.sampled_from(LANES)),
        parallel=draw(st.booleans()),
    )
    return template, mask


def outputs(kernel: Kernel, inputs: Sequence[Array], lanes: int) -> dict[str, Array]:
    """Return y and q, those there are, as [rows, channels]."""
    output, shape = kernel.output, (kernel.rows, kernel.channels)
    sizes = [np.full(shape[0] * shape[1], 7, np.float32)] if output.real else []
    if output.q is not None:
        sizes.append(np.full(output.q.size, 77, output.dtype))
    kernel = dataclasses.replace(kernel, lanes=lanes)
    found = run_all(kernel, [*(array.reshape(-1) for array in inputs), *sizes])
    named = {}
    if output.real:
        named["y"] = found[len(inputs)].reshape(shape)
    if output.q is not None:
        named["q"] = places(found[-1].copy(), View.of(shape, output.q))
    return named


def check_outputs(
    kernel: Kernel, inputs: Sequence[Array], exact: F64, bound: F64, seed: int
) -> None:
    """Check y against its bound, and q against the y of another instruction set."""
    output = kernel.output
    rng = np.random.default_rng(seed)
    factor = rng.uniform(0.5, 2, kernel.channels).astype(np.float32)
    scale = np.float32(max(np.abs(exact).max() / 100, 1e-9))
    extra = [factor] if output.factor else []
    extra += [np.array([scale])] if output.q is not None else []
    got = outputs(kernel, [*inputs, *extra], kernel.lanes)
    both = dataclasses.replace(kernel, output=dataclasses.replace(output, real=True))
    y = outputs(both, [*inputs, *extra], LANES[0])["y"]
    error = np.abs(y.astype(np.float64) - exact)
    assert (error <= bound).all(), float((error / bound).max())
    if output.real:
        np.testing.assert_array_equal(got["y"], y)
    if output.q is not None:
        real = y * factor if output.factor else y
        steps = np.rint(real / scale) + output.zero_point
        info = np.iinfo(output.dtype)
        np.testing.assert_array_equal(got["q"], np.clip(steps, info.min, info.max))


def check_layer_norm(kernel: LayerNorm, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = kernel.channels
    x = rng.normal(rng.uniform(-3, 3), rng.uniform(0.1, 5), (kernel.rows, n))
    x = x.astype(np.float32)
    gamma, beta = (rng.normal(0, 2, n).astype(np.float32) for _ in range(2))
    wide = x.astype(np.float64)
    centred = wide - wide.mean(1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(1, keepdims=True) + kernel.epsilon)
    even = centred / deviation
    exact = even * gamma + beta * kernel.bias
    # The mean: n / 16 + 4 sums and a quotient, none above the row's greatest number; by that
    # the difference is wrong, and less than that the deviation.
    rounds = n / 16 + 8
    lost = UNIT * rounds * np.abs(wide).max(1, keepdims=True) / deviation
    bound = (2 * lost + rounds * UNIT * np.abs(even)) * np.abs(gamma)
    bound = bound * (1 + np.abs(even)) + 2 * UNIT * np.abs(exact)
    check_outputs(kernel, [x, gamma, *([beta] if kernel.bias else [])], exact, bound, seed)


def check_softmax(kernel: FloatSoftmax, shape: tuple[int, ...], seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = kernel.channels
    x = rng.normal(0, rng.uniform(0.1, 20), (kernel.rows, n)).astype(np.float32)
    mask = np.where(rng.random(shape) < 0.3, rng.uniform(-20, 1), 0).astype(np.float32)
    t = x
    if kernel.mask is not None:
        t = (x.reshape(kernel.mask.shape) + mask).reshape(x.shape)
    below = t.astype(np.float64) - t.max(1, keepdims=True)
    exact = np.exp(below) / np.exp(below).sum(1, keepdims=True)
    # As the docstring says; and what is left out below SMALLEST.
    bound = exact * 2 * UNIT * (n / 32 + 8 + np.abs(below)) + 1e-37
    inputs = [x, *([mask] if kernel.mask is not None else [])]
    check_outputs(kernel, inputs, exact, bound, seed)


@QUICK
@given(layer_norms(), SEEDS)
def test_layer_norm(kernel: LayerNorm, seed: int) -> None:
    check_layer_norm(kernel, seed)


@QUICK
@given(softmaxes(), SEEDS)
def test_softmax(case: tuple[FloatSoftmax, tuple[int, ...]], seed: int) -> None:
    check_softmax(*case, seed)


@pytest.mark.slow
@THOROUGH
@given(layer_norms(), SEEDS)
def test_layer_norm_many(kernel: LayerNorm, seed: int) -> None:
    check_layer_norm(kernel, seed)


@pytest.mark.slow
@THOROUGH
@given(softmaxes(), SEEDS)
def test_softmax_many(case: tuple[FloatSoftmax, tuple[int, ...]], seed: int) -> None:
    check_softmax(*case, seed)


@pytest.mark.parametrize("lanes", LANES)
def test_softmax_of_what_is_masked_out(lanes: int) -> None:
    x = np.array([[0, -np.inf, 1], [-np.inf] * 3, [np.nan, 1, 2]], np.float32)
    got = outputs(FloatSoftmax(rows=3, channels=3), [x], lanes)["y"]
    share = 1 / (1 + np.exp(1.0))
    np.testing.assert_allclose(got[0], [share, 0, 1 - share], rtol=1e-6)
    assert np.isnan(got[1:]).all()


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("channels", [1, 15, 16, 33, 384])
def test_mean(channels: int, mean: bool, lanes: int) -> None:
    x = np.random.default_rng(channels).normal(1, 3, (5, channels)).astype(np.float32)
    template = RowMean(rows=5, channels=channels, mean=mean, lanes=lanes)
    got = run_all(template, [x.reshape(-1), np.zeros(5, np.float32)])[-1]
    divisor = channels if mean else 1
    exact = x.astype(np.float64).sum(1) / divisor
    added = np.abs(x).sum(1, dtype=np.float64) / divisor  # each sum is a rounding of less
    assert (np.abs(got - exact) <= UNIT * (channels / 16 + 6) * added).all()


def test_nothing_to_store_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing is stored"):
        RowOutput(real=False)
    with pytest.raises(ValueError, match="a factor without"):
        RowOutput(factor=True)
