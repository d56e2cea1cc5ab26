"""QLut against NumPy's indexing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcompile.targets.arm_isa import NEON
from qcompile.targets.isa import Isa
from qcompile.targets.kernels.lookup import Lookup
from qcompile.targets.kernels.view import View
from qcompile.targets.layout import Halo, Layout
from qcompile.targets.x86_isa import VNNI512_VBMI
from tests.targets import emulator
from tests.targets.boards import REQUIRED
from tests.targets.buffers import FLAGS, LANES, image, run, stored
from tests.targets.strategies import QUICK, SEEDS, T8, THOROUGH, shapes, views, zero_points

WIDE = [VNNI512_VBMI] if "avx512_vbmi" in FLAGS else []
if emulator.READY or REQUIRED:
    WIDE.append(NEON)
"""Instruction sets with a lookup of whole vectors that can run here."""


@st.composite
def templates(draw: st.DrawFn) -> Lookup:
    shape, y_dtype = draw(shapes()), draw(T8)
    axes = st.one_of(st.none(), st.integers(0, len(shape) - 1)) if shape else st.none()
    return Lookup(
        x=draw(views(shape)),
        y=draw(views(shape)),
        x_dtype=draw(T8),
        y_dtype=y_dtype,
        zero_point=draw(zero_points(y_dtype)),
        axis=draw(axes),
        lanes=draw(st.sampled_from(LANES)),
        parallel=draw(st.booleans()),
    )


def check(template: Lookup, seed: int) -> None:
    rng = np.random.default_rng(seed)
    lowest = int(np.iinfo(template.x_dtype).min)
    x = rng.integers(lowest, lowest + 256, template.x.shape).astype(template.x_dtype)
    count = 1 if template.axis is None else x.shape[template.axis]
    table = np.stack([rng.permutation(256) for _ in range(count)])
    table = table.astype(np.uint8).view(template.y_dtype)
    which = (
        np.zeros(x.shape, int) if template.axis is None else np.indices(x.shape)[template.axis]
    )
    arguments = [stored(x, template.x.layout, seed), table]
    if template.isa is NEON:
        answer = np.full(template.y.layout.size, 77, template.y_dtype)
        arrays = [*(array.reshape(-1) for array in arguments), answer]
        buffer = emulator.run(template.func(), NEON, arrays)
    else:
        buffer = run(template, arguments, template.y.layout, template.y_dtype)
    got = image(buffer, template.y, template.zero_point)
    np.testing.assert_array_equal(got, table[which, x.astype(int) - lowest])


@QUICK
@given(templates(), SEEDS)
def test_looks_up(template: Lookup, seed: int) -> None:
    check(template, seed)


@pytest.mark.parametrize("isa", WIDE, ids=lambda isa: isa.name)
@QUICK
@given(templates(), SEEDS)
def test_looks_up_vectors(isa: Isa, template: Lookup, seed: int) -> None:
    wide = dataclasses.replace(template, axis=None).on(isa)
    assert wide is not None
    check(wide, seed)


@pytest.mark.parametrize("isa", WIDE, ids=lambda isa: isa.name)
def test_looks_up_a_whole_image_by_vectors(isa: Isa) -> None:
    shape = (1, 64, 5, 7)
    view = View.of(shape, Layout.spatial(shape, 64))
    template = Lookup(x=view, y=view, x_dtype="int8", y_dtype="uint8", zero_point=3)
    wide = template.on(isa)
    assert wide is not None
    check(wide, 0)


@pytest.mark.slow
@THOROUGH
@given(templates(), SEEDS)
def test_looks_up_many(template: Lookup, seed: int) -> None:
    check(template, seed)


@pytest.mark.parametrize("lanes", LANES)
def test_fills_the_halo(lanes: int) -> None:
    shape = (2, 20, 4, 3)
    x = View.of(shape, Layout.spatial(shape, 16))
    y = View.of(shape, Layout.spatial(shape, 16, Halo(1, 2, 0, 1)))
    template = Lookup(x=x, y=y, x_dtype="uint8", y_dtype="int8", zero_point=-5, lanes=lanes)
    check(template, 0)
