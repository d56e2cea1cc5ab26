"""Products of two activations against plain integers, bit for bit."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st

from qcompile.targets.isa import Isa
from qcompile.targets.kernels.batch_matmul import BatchMatMul
from qcompile.targets.kernels.epilogue import Epilogue
from qcompile.targets.kernels.pack_rhs import PackRhs
from qcompile.targets.kernels.row_sums import RowSums
from qcompile.targets.kernels.view import View
from qcompile.targets.layout import Layout
from qcompile.targets.tiles import tiles
from tests.targets import convolutions, emulator
from tests.targets.buffers import stored
from tests.targets.convolutions import FILLS, RUNNABLE, epilogues, fill
from tests.targets.emulator import CPUS, needs_emulator

Array = npt.NDArray[Any]

QUICK = settings(max_examples=16, deadline=None, derandomize=True)
"""Two or three kernels are compiled for every example: about 0.3 s."""
EMULATED = settings(max_examples=5, deadline=None, derandomize=True)
OFTEN = settings(max_examples=400, deadline=None)


@dataclasses.dataclass(frozen=True)
class Product:
    """A product to compute: its kernels, and what goes in.

    `turned` says that b's memory holds its transpose.
    """

    kernel: BatchMatMul
    packing: PackRhs
    a: Array
    b: Array
    a_zero_point: int
    b_zero_point: int
    multiplier: np.float32
    turned: bool


@st.composite
def products(draw: st.DrawFn, isas: Sequence[Isa]) -> Product:
    """Draw shapes that broadcast, types, orders of b's memory, zero points and a tile."""
    isa = draw(st.sampled_from(isas))
    rank = draw(st.integers(0, 2))
    sizes = [draw(st.integers(1, 3)) for _ in range(rank)]
    a_batch, b_batch = (
        tuple(draw(st.sampled_from((1, size))) for size in sizes[draw(st.integers(0, rank)) :])
        for _ in range(2)
    )
    rows, depth = draw(st.integers(1, 20)), draw(st.integers(1, 70))
    columns = draw(st.one_of(st.integers(1, 90), st.sampled_from([16, 64])))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    b_dtype, turned = draw(st.sampled_from(["uint8", "int8"])), draw(st.booleans())
    a = fill(draw(st.sampled_from(FILLS)), isa.activation, (*a_batch, rows, depth), rng)
    b = fill(draw(st.sampled_from(FILLS)), b_dtype, (*b_batch, depth, columns), rng)
    epilogue = draw(epilogues())
    return product(
        a,
        b,
        isa,
        epilogue,
        a_zero_point=draw(st.sampled_from([int(np.iinfo(a.dtype).min), 3, 127])),
        b_zero_point=draw(
            st.sampled_from([int(np.iinfo(b_dtype).min), 128 if b_dtype == "uint8" else 0, 5])
        ),
        turned=turned,
        multiplier=rng.uniform(0.5, 2) * 60 / (70 * 70 * math.sqrt(depth)),
        tile=draw(st.integers(0, 1000)),
        parallel=draw(st.booleans()),
        padding=draw(st.sampled_from([1, isa.channels])),
    )


def product(
    a: Array,
    b: Array,
    isa: Isa,
    epilogue: Epilogue,
    *,
    a_zero_point: int,
    b_zero_point: int,
    turned: bool = False,
    multiplier: float = 1.0,
    tile: int = 0,
    parallel: bool = False,
    padding: int = 1,
) -> Product:
    """Return the kernels of a product; the tile is the one of that number."""
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    answer = Layout.rows((*batch, a.shape[-2], b.shape[-1]))
    if epilogue.dtype != "float32":
        answer = Layout.rows((*batch, a.shape[-2], b.shape[-1]), isa.channels)
    left = View.of(a.shape, Layout.rows(a.shape, isa.channels))
    kernel = BatchMatMul(
        **BatchMatMul.layouts(left, batch, answer),
        b_batch=b.shape[:-2],
        centred=b_zero_point == (128 if b.dtype == np.uint8 else 0),
        isa=isa,
        epilogue=epilogue,
        parallel=parallel,
    )
    found = tiles(kernel.work(), isa)
    kernel = dataclasses.replace(kernel, tile=found[tile % len(found)])
    shape = (*b.shape[:-2], b.shape[-1], b.shape[-2]) if turned else b.shape
    right = View.of(shape, Layout.rows(shape, padding))
    order = [*range(b.ndim - 2), b.ndim - 1, b.ndim - 2]
    packing = PackRhs(
        b=right.transpose(order) if turned else right,
        dtype=str(b.dtype),
        isa=isa,
        width=kernel.width,
        parallel=parallel,
    )
    points = a_zero_point, b_zero_point
    return Product(kernel, packing, a, b, *points, np.float32(multiplier), turned)


def reference(given: Product) -> Array:
    """Return what `qcompile.ops` says."""
    factors = given.a.astype(np.int64) - given.a_zero_point, given.b.astype(np.int64)
    acc = np.matmul(factors[0], factors[1] - given.b_zero_point)
    assert -(2**31) <= acc.min() <= acc.max() < 2**31
    t = acc.astype(np.float32) * given.multiplier
    last = given.kernel.epilogue
    if last.dtype == "float32":
        return np.asarray(np.clip(t, np.float32(last.lo), np.float32(last.hi)))
    return np.asarray(np.clip(np.rint(t) + last.zero_point, last.lo, last.hi), last.dtype)


def compute(given: Product) -> Array:
    """Pack, sum the rows, multiply; buffers hold junk where nothing is."""
    kernel, packing = given.kernel, given.packing
    a = stored(given.a, kernel.a.layout)
    b = np.swapaxes(given.b, -1, -2) if given.turned else given.b
    points = [np.array([each], np.int32) for each in (given.a_zero_point, given.b_zero_point)]
    w, bias = (
        np.full(size, 77, kind) for size, kind in zip(packing.sizes, ("i1", "i4"), strict=True)
    )
    w, bias = run(packing, [stored(b, packing.b.layout), *points, w, bias])[-2:]
    multiplier = np.full(kernel.vectors * kernel.isa.lanes, given.multiplier, np.float32)
    arguments = [a, w, np.zeros(len(kernel.blocks()), np.int32), bias, multiplier]
    if not kernel.centred:
        sums = RowSums(
            a=kernel.a, isa=kernel.isa, shift=packing.shift, parallel=kernel.parallel
        )
        rows = np.full(sums.rows, 77, np.int32)
        arguments.append(run(sums, [a, points[1], rows])[-1])
    y = np.full(kernel.y.size, 77, kernel.epilogue.dtype)
    result = run(kernel, [*arguments, y])[-1].reshape(-1, kernel.y.c_pad)[:, : kernel.y.c]
    return result.reshape(*kernel.batch, *result.shape[:0], kernel.y.w, kernel.y.c)


def run(template: Any, arrays: Sequence[Array]) -> list[Array]:
    """Return all arrays after a kernel ran, here or on an emulated CPU."""
    isa = template.isa
    if isa in emulator.CPUS:
        return emulator.run_all(template.func(), isa, arrays)
    tensors = [tvm.runtime.tensor(array) for array in arrays]
    _built(template)(*tensors)
    return [tensor.numpy() for tensor in tensors]


@cache
def _built(template: Any) -> Any:
    function = template.func().with_attr("global_symbol", "main")
    return tvm.compile(function, target=convolutions.target(template.isa))["main"]


def check(given: Product) -> None:
    np.testing.assert_array_equal(compute(given), reference(given), strict=True)


@given(products(RUNNABLE))
@QUICK
def test_equals_reference(given: Product) -> None:
    check(given)


@pytest.mark.slow
@given(products(RUNNABLE))
@OFTEN
def test_equals_reference_often(given: Product) -> None:
    check(given)


@needs_emulator
@pytest.mark.parametrize("isa", CPUS, ids=lambda isa: isa.name)
@given(drawn=st.data())
@EMULATED
def test_equals_reference_emulated(isa: Isa, drawn: st.DataObject) -> None:
    check(drawn.draw(products([isa])))


@pytest.mark.slow
@needs_emulator
@pytest.mark.parametrize("isa", CPUS, ids=lambda isa: isa.name)
@given(drawn=st.data())
@OFTEN
def test_equals_reference_emulated_often(isa: Isa, drawn: st.DataObject) -> None:
    check(drawn.draw(products([isa])))


ISAS = [*RUNNABLE, *(pytest.param(isa, marks=needs_emulator) for isa in CPUS)]


@pytest.mark.parametrize("isa", ISAS, ids=lambda isa: isa.name)
@pytest.mark.parametrize("ends", [(0, 1), (1, 1)])
def test_the_deepest_sums_are_exact(isa: Isa, ends: tuple[int, int]) -> None:
    """255 * 255 in every product, as many as int32 holds."""
    depth = (2**31 - 1) // 255**2
    info = np.iinfo(isa.activation)
    limits = int(info.min), int(info.max)
    a = np.full((2, depth), limits[ends[0]], isa.activation)
    b = np.full((depth, 3), limits[ends[1]], isa.activation)
    given = product(
        a,
        b,
        isa,
        Epilogue(dtype="float32"),
        a_zero_point=limits[1 - ends[0]],
        b_zero_point=limits[1 - ends[1]],
    )
    check(given)
    assert set(np.abs(compute(given)).ravel()) == {np.float32(depth * 255**2)}
