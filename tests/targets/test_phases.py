"""Convolutions that store their channels as the pixels of a larger image."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from qcompile.compiler import compile_model
from qcompile.config import CompileConfig
from qcompile.targets import TARGETS
from qcompile.targets.isa import Isa
from qcompile.targets.kernels.dense_conv import DenseConv
from qcompile.targets.kernels.epilogue import Epilogue
from qcompile.targets.kernels.view import View
from qcompile.targets.layout import Halo, Layout
from qcompile.targets.phases import Phases
from tests.nets import net, samples
from tests.targets.buffers import image
from tests.targets.convolutions import Array, Data, reference, run, store
from tests.targets.pairs import RUNNABLE
from tests.targets.test_lowering import HERE, runnable

KINDS = {
    "images": (Epilogue(dtype="uint8", zero_point=9, bounded=True), Halo(1, 0, 2, 1)),
    "images without a halo": (Epilogue(dtype="uint8", zero_point=3), Halo()),
    "planes": (Epilogue(dtype="float32"), None),
}


def kernel(isa: Isa, kind: str, channels: int, down: int, right: int) -> DenseConv:
    epilogue, halo = KINDS[kind]
    shape = (2, channels, 3 * down, 7 * right)
    layout = Layout.rows(shape) if halo is None else Layout.spatial(shape, isa.lanes, halo)
    return DenseConv(
        x=Layout.spatial((2, 10, 3, 7), isa.channels),
        y=Phases.of(View.of(shape, layout), down, right),
        isa=isa,
        epilogue=epilogue,
    )


def given(template: DenseConv) -> Data:
    """Return numbers; channels that are only padding have weights of zero."""
    rng = np.random.default_rng(0)
    assert isinstance(template.y, Phases)
    known = np.array([place is not None for place in template.y.order()])
    weight = rng.integers(-127, 128, (template.y.c, 10, 1, 1)).astype(np.int8)
    lowest = 0 if template.isa.activation == "uint8" else -128
    return Data(
        x=rng.integers(lowest, lowest + 256, (2, 10, 3, 7)).astype(template.isa.activation),
        weight=np.where(known[:, None, None, None], weight, 0).astype(np.int8),
        bias=np.where(known, rng.integers(-999, 1000, template.y.c), 0).astype(np.int32),
        multiplier=rng.uniform(0.0001, 0.01, template.y.c).astype(np.float32),
        x_zero_point=lowest + 100,
        residual=None,
        r_multiplier=np.float32(0),
    )


def merged(template: DenseConv, data: Data) -> Array:
    """Return the larger image."""
    phases = template.y
    assert isinstance(phases, Phases)
    shape = (phases.n, phases.c, phases.h, phases.w)
    small = reference(dataclasses.replace(template, y=Layout.spatial(shape)), data)
    larger = np.zeros(phases.larger.shape, small.dtype)
    for channel, place in enumerate(phases.order()):
        if place is not None:
            o, line, pixel = place
            larger[:, o, line :: phases.down, pixel :: phases.right] = small[:, channel]
    return larger


@pytest.mark.parametrize("isa", RUNNABLE, ids=lambda isa: isa.name)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("channels", "down", "right"),
    [(24, 2, 2), (1, 2, 2), (3, 1, 3), (40, 3, 1), (5, 1, 1)],
)
def test_every_tile_stores_pixels(
    isa: Isa, kind: str, channels: int, down: int, right: int
) -> None:
    template = kernel(isa, kind, channels, down, right)
    assert isinstance(template.y, Phases)
    data = given(template)
    widths = {tile.vectors: tile for tile in template.tile_choices()}
    for tile in widths.values():
        tiled = dataclasses.replace(template, tile=tile)
        arrays = [store(data.x, tiled.x, data.x_zero_point)]
        arrays += tiled.pack(data.weight, data.bias, data.multiplier, data.x_zero_point)
        empty = np.full(tiled.y.size, 77, tiled.epilogue.dtype)
        buffer = run(tiled, [*arrays, empty])
        got = image(buffer, template.y.larger, tiled.epilogue.zero_point)
        np.testing.assert_array_equal(got, merged(tiled, data))


def test_the_split_view_is_the_same_memory() -> None:
    larger = View.of((1, 5, 6, 4), Layout.spatial((1, 5, 6, 4), 8, Halo(1, 1, 1, 1)))
    phases = Phases.of(larger, 3, 2)
    split = phases.split()
    for channel, place in enumerate(phases.order()):
        if place is not None:
            index = (0, *place, 1, 1)
            start = split.offset + np.dot(index, split.strides)
            assert start == phases.at(0, 1, 1, channel)


@pytest.mark.parametrize(
    "functions",
    [["Sigmoid"], ["Sigmoid", "Relu"], ["Relu", "Tanh"], ["Tanh", "Sigmoid", "Exp"]],
    ids=" ".join,
)
def test_functions_of_planes_lie_where_the_convolution_stored_them(
    functions: list[str],
) -> None:
    names = ["t", *(f"f{index}" for index in range(1, len(functions))), "y"]
    chain = "  ".join(
        f"{after} = {function}({before})"
        for function, before, after in zip(functions, names, names[1:], strict=False)
    )
    model = net(
        f"""g (float[1,5,6,7] x, float[12,5,3,3] w1, float[12,3,1,3] w2)
            => (float[1,3,6,21] y)
        {{ a = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, w1)  r = Relu(a)
           t = ConvTranspose <strides = [1, 3]> (r, w2)  {chain} }}"""
    )
    given = samples(model, 3)
    config = CompileConfig(recipe="static-int8")
    compiled = compile_model(
        model, runnable(TARGETS[HERE[0]]), calibration=given, config=config
    )
    kernels = [each["kernel"] for each in compiled.manifest["kernels"]]
    assert "Move" not in kernels
    assert kernels.count("FloatFunction") >= 1
    assert compiled.validate(given)["oracle"]["bit_exact"]
