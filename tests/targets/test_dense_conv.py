"""The dense kernel against a plain integer reference, bit for bit."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcompile.targets.isa import Isa
from qcompile.targets.kernels.dense_conv import DenseConv
from qcompile.targets.kernels.epilogue import Epilogue
from qcompile.targets.layout import Halo, Layout
from qcompile.targets.tiles import Tile, tiles
from qcompile.targets.x86_isa import AVX2, VNNI512
from tests.targets.convolutions import (
    RUNNABLE,
    Data,
    compiled,
    compute,
    data,
    fields,
    reference,
)
from tests.targets.emulator import CPUS, needs_emulator

ISAS = [*RUNNABLE, *(pytest.param(isa, marks=needs_emulator) for isa in CPUS)]
EMULATED = settings(max_examples=30, deadline=None, derandomize=True)
"""A kernel is compiled, linked and emulated for every example: about 0.4 s."""

QUICK = settings(max_examples=40, deadline=None, derandomize=True)
"""A kernel is compiled for every example: about 0.15 s."""


@st.composite
def kernels(draw: st.DrawFn, isas: Sequence[Isa]) -> DenseConv:
    """Draw a dense kernel: groups of one channel and more, any tile that fits."""
    group = draw(st.sampled_from([1, 1, 1, 2, 3, 5, 16]))
    most = 40 // group
    inputs, outputs = (
        group * draw(st.integers(1, most)),
        group * draw(st.integers(1, 2 * most)),
    )
    kernel = DenseConv(
        **draw(fields(isas, inputs=inputs, outputs=outputs, depthwise=False)), group=group
    )
    tile = draw(st.sampled_from(tiles(kernel.work(), kernel.isa)))
    chunk = draw(st.integers(1, 40))
    return dataclasses.replace(kernel, tile=dataclasses.replace(tile, chunk=chunk))


@st.composite
def products(draw: st.DrawFn, isas: Sequence[Isa]) -> DenseConv:
    """Draw a matrix product, a pixel for each row; often a single row."""
    rows, depth = draw(st.sampled_from([1, 1, 2, 7, 50])), draw(st.integers(1, 200))
    outputs = draw(st.integers(1, 150))
    shared = draw(fields(isas, inputs=depth, outputs=outputs, depthwise=False))
    names = ("isa", "epilogue", "parallel")
    lanes, y = shared["isa"].channels, shared["y"]
    flat = {name: shared[name] for name in names}
    x = Layout.rows((rows, depth), lanes)
    y = Layout.rows((rows, y.c), 1 if y.c_pad == y.c else lanes)
    if draw(st.booleans()):
        return DenseConv(x=x, y=y, **flat)
    r_dtype = draw(st.sampled_from(["uint8", "float32", "float32"]))
    return DenseConv(x=x, y=y, **flat, residual=y, r_dtype=r_dtype)


def cases(*isas: Isa) -> st.SearchStrategy[tuple[DenseConv, Data]]:
    return st.one_of(kernels(isas), kernels(isas), products(isas)).flatmap(
        lambda kernel: st.tuples(st.just(kernel), data(kernel))
    )


def check(case: tuple[DenseConv, Data]) -> None:
    kernel, values = case
    assert np.array_equal(compute(kernel, values), reference(kernel, values))


@given(cases(*RUNNABLE))
@QUICK
def test_equals_reference(case: tuple[DenseConv, Data]) -> None:
    check(case)


@pytest.mark.slow
@given(cases(*RUNNABLE))
@settings(max_examples=1500, deadline=None)
def test_equals_reference_often(case: tuple[DenseConv, Data]) -> None:
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
@settings(max_examples=400, deadline=None)
def test_equals_reference_emulated_often(isa: Isa, drawn: st.DataObject) -> None:
    check(drawn.draw(cases(isa)))


@pytest.mark.parametrize("isa", ISAS, ids=lambda isa: isa.name)
@pytest.mark.parametrize("weight", [-128, 127])
def test_largest_sums_do_not_saturate(isa: Isa, weight: int) -> None:
    """Sums at both ends of int32, every product the largest there is."""
    depth, top = 65536, int(np.iinfo(isa.activation).max)
    total = depth * top * weight
    bias = -(2**31) - total if weight < 0 else 2**31 - 1 - total
    kernel = DenseConv(
        x=Layout.rows((1, depth)),
        y=Layout.rows((1, isa.lanes)),
        isa=isa,
        epilogue=Epilogue(dtype="float32"),
    )
    values = Data(
        x=np.full((1, depth, 1, 1), top, isa.activation),
        weight=np.full((isa.lanes, depth, 1, 1), weight, np.int8),
        bias=np.full(isa.lanes, bias),
        multiplier=np.ones(isa.lanes, np.float32),
        x_zero_point=0,
        residual=None,
        r_multiplier=np.float32(0),
    )
    assert np.array_equal(compute(kernel, values), reference(kernel, values))
    assert set(compute(kernel, values).ravel()) == {np.float32(total + bias)}


def small(**changed: Any) -> DenseConv:
    arguments = {
        "x": Layout(1, 8, 8, 16, 16),
        "y": Layout(1, 8, 8, 16, 16),
        "isa": AVX2,
        "epilogue": Epilogue(dtype="uint8"),
        **changed,
    }
    return DenseConv(**arguments)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"kernel": (3, 3)}, "axis h: windows from 0 to 9 leave 8 stored elements"),
        ({"pads": (0, 1)}, "axis w: windows from -1 to 6 leave 8"),
        ({"x": Layout(2, 8, 8, 16, 16)}, "2 images in, 1 out"),
        ({"x": Layout(1, 8, 8, 3, 3)}, "multiple of 4, got 3"),
        ({"group": 3}, "16 and 16 channels in 3 groups"),
    ],
)
def test_refuses(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**changed)


def test_halo_makes_room_for_the_window() -> None:
    x = Layout(1, 8, 8, 16, 16, Halo(1, 1, 1, 1))
    assert small(x=x, kernel=(3, 3), pads=(1, 1)).macs() == 8 * 8 * 16 * 16 * 9


def test_grouped_block_reads_only_its_groups() -> None:
    channels = Layout(1, 8, 8, 128, 128)
    kernel = small(x=channels, y=channels, isa=VNNI512, group=32, tile=Tile(8, 1, 8))
    assert kernel.k_steps(1) == 4
    assert [block.base for block in kernel.blocks()] == list(range(0, 128, 16))


def test_same_constants_twice() -> None:
    rng = np.random.default_rng(0)
    weight = rng.integers(-127, 128, (16, 16, 1, 1), dtype=np.int8)
    packs = [small().pack(weight, np.arange(16), np.ones(16, np.float32), 3) for _ in range(2)]
    assert all(np.array_equal(a, b) for a, b in zip(*packs, strict=True))


@pytest.mark.skipif(VNNI512 not in RUNNABLE, reason="needs AVX-512 VNNI")
@pytest.mark.parametrize("tile", [Tile(14, 2, 56), Tile(4, 4, 56), Tile(7, 3, 56)], ids=str)
def test_accumulators_stay_in_registers(tile: Tile) -> None:
    """No vector of the inner loop goes to the stack or comes from it."""
    image = Layout(1, 28, 28, 96, 96)
    module = compiled(small(x=image, y=image, isa=VNNI512, tile=tile))
    blocks = re.split(r"\n\.LBB|\n\tj", module.mod.inspect_source("asm"))
    dots = tile.pixels * tile.vectors
    inner = [block for block in blocks if block.count("vpdpbusd") >= dots]
    assert inner
    assert not [line for block in inner for line in block.splitlines() if "(%rsp)" in line]
