"""The tiles of a kernel that are worth measuring, and one library that calls them all."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qcompile.targets.peaks import CopyPeak
from qcompile.targets.trials import Trial
from qcompile.targets.tuning.choices import Tunable

Array = npt.NDArray[np.generic]

MOST = 8
"""Tiles of a kernel that are measured."""

FACTORS = (2.0, 0.5)
"""By which the chunk of the untuned tile is tried larger and smaller."""

EVICTED = 1 << 22
"""Bytes that are copied before each round: weights come from memory, as in a model."""

DISTINCT = 1 << 26
"""Bytes of weights up to which each candidate has its own; beyond, all share one."""


def candidates(template: Tunable, most: int = MOST) -> list[Any]:
    """Return the tiles to measure: the cost model's choice first, then its next best.

    Where a tile has a chunk, the choice with a larger and a smaller one takes the last places.
    """
    ranked = template.tile_choices()
    untuned = ranked[0]
    varied = [
        dataclasses.replace(untuned, chunk=max(1, math.ceil(untuned.chunk * factor)))
        for factor in FACTORS
        if hasattr(untuned, "chunk")
    ]
    room = max(1, most - len(varied))
    return list(dict.fromkeys([*ranked[:room], *varied]))[:most]


def trials(template: Any, tiles: list[Any]) -> list[Trial]:
    """Return one round: an eviction, one untimed call, and one call for every tile.

    The untimed one brings in the input, which a model's kernel finds in the cache too. All
    read the same input, each its own weights.
    """
    kernels = [dataclasses.replace(template, tile=tile) for tile in tiles]
    calls = [_trial(kernel, seed) for seed, kernel in enumerate([kernels[0], *kernels])]
    memory = np.zeros(EVICTED, np.uint8)
    copy = CopyPeak(EVICTED, template.isa.lanes, parallel=False)
    return [Trial(copy, [memory], EVICTED, ir.DataType.UINT8), *calls]


SKIPPED = 2
"""Calls of a round before the first tile's."""


def _trial(kernel: Any, seed: int) -> Trial:
    parameters = [(each.name, str(each.dtype), size_of(each)) for each in kernel.func().params]
    *operands, (_, dtype, size) = parameters
    weights = sum(size for name, _, size in operands if name == "w")
    if weights * (MOST + 1) > DISTINCT:
        seed = 0
    arguments = [operand(kernel, *each, seed) for each in operands]
    return Trial(kernel, arguments, size, ir.DataType.from_numpy(np.dtype(dtype)))


def size_of(parameter: Any) -> int:
    """Return the elements of a kernel's parameter."""
    return math.prod(int(extent) for extent in parameter.shape)


def operand(kernel: Any, name: str, dtype: str, size: int, seed: int) -> Array:
    """Return numbers for a parameter: random ones, but true ones where they are indices."""
    if name == "base":
        return np.array([block.base for block in kernel.blocks()], np.int32)
    random = np.random.default_rng(seed if name == "w" else 0)
    if np.dtype(dtype).kind == "f":
        return (random.random(size) / 1024).astype(dtype)
    if name == "bias":
        return np.zeros(size, dtype)  # depthwise kernels have zeros among them
    low = 0 if dtype == "uint8" else -100
    return random.integers(low, 100, size).astype(dtype)
