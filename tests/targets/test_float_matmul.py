"""Products of computed float matrices against their chain of fused multiply-adds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcompile.numerics import fma32
from qcompile.targets.kernels.float_end import FloatEnd
from qcompile.targets.kernels.float_matmul import FloatMatMul
from qcompile.targets.kernels.view import View
from tests.targets import convolutions
from tests.targets.buffers import places
from tests.targets.strategies import QUICK, SEEDS, THOROUGH
from tests.targets.test_float_conv import ISAS

COLUMNS = st.one_of(st.integers(1, 20), st.sampled_from([32, 33, 70]))


@st.composite
def matrices(draw: st.DrawFn, batch: tuple[int, ...], rows: int, columns: int) -> View:
    """Draw where matrices lie: one after another, or rows of them in turn, as heads do."""
    taken = tuple(draw(st.sampled_from((1, size))) for size in batch)
    taken = taken[draw(st.integers(0, len(taken))) :]
    if not taken or draw(st.booleans()):
        return View.plain((*taken, rows, columns))
    *outer, last = taken
    order = [*range(len(outer)), len(outer) + 1, len(outer), len(outer) + 2]
    return View.plain((*outer, rows, last, columns)).transpose(order)


@st.composite
def products(draw: st.DrawFn) -> FloatMatMul:
    batch = tuple(draw(st.lists(st.integers(1, 3), max_size=2)))
    rows, depth, columns = draw(st.integers(1, 20)), draw(st.integers(1, 20)), draw(COLUMNS)
    a, b = draw(matrices(batch, rows, depth)), draw(matrices(batch, depth, columns))
    leading = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return FloatMatMul.of(
        a,
        b,
        leading,
        added=draw(st.booleans()),
        isa=draw(st.sampled_from(ISAS)),
        end=draw(st.sampled_from([FloatEnd(), FloatEnd(lo=0.0)])),
        parallel=draw(st.booleans()),
    )


def check(kernel: FloatMatMul, seed: int) -> None:
    rng = np.random.default_rng(seed)
    buffers, sides = [], []
    for view in (kernel.a, kernel.b):
        buffers.append(rng.normal(0, 1, view.layout.size).astype(np.float32))
        sides.append(places(buffers[-1], view))
    a, b = sides
    shape = (*kernel.batch, a.shape[-2], b.shape[-1])
    expected = np.zeros(shape, np.float32)
    for k in range(a.shape[-1]):
        column = np.broadcast_to(a[..., :, k, None], shape)
        expected = fma32(column, np.broadcast_to(b[..., k, None, :], shape), expected)
    if kernel.residual is not None:
        buffers.append(rng.normal(0, 1, expected.size).astype(np.float32))
        expected = expected + buffers[-1].reshape(shape)
    expected = np.maximum(expected, np.float32(kernel.end.lo))
    output = convolutions.run(kernel, [*buffers, np.full(kernel.y.size, 77, np.float32)])
    np.testing.assert_array_equal(output.reshape(shape), expected)


@QUICK
@given(products(), SEEDS)
def test_product(kernel: FloatMatMul, seed: int) -> None:
    check(kernel, seed)


@pytest.mark.slow
@THOROUGH
@given(products(), SEEDS)
def test_many_products(kernel: FloatMatMul, seed: int) -> None:
    check(kernel, seed)
