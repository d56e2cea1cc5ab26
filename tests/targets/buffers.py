"""Run a kernel template on logical arrays: into its layouts, and out again."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tvm

from qcompile.targets.arm_isa import NEON
from qcompile.targets.kernels.epilogue import Epilogue
from qcompile.targets.kernels.view import View
from qcompile.targets.layout import Layout
from tests.targets import emulator
from tests.targets.boards import REQUIRED

Array = npt.NDArray[Any]

FLAGS = Path("/proc/cpuinfo").read_text().split() if Path("/proc/cpuinfo").exists() else []
CPUS = {64: "icelake-server", 16: "cascadelake", 8: "haswell"}
"""LLVM's name of a CPU with vectors of that many lanes; 64 are bytes, all at once."""
LANES = [lanes for lanes, flag in ((16, "avx512bw"), (8, "avx2")) if flag in FLAGS]
if emulator.READY or REQUIRED:
    LANES.append(NEON.lanes)
"""What this machine can run; four lanes on an emulated ARM."""


def stored(array: Array, layout: Layout, seed: int = 0) -> Array:
    """Return the buffer of a tensor; what is not the tensor's holds anything."""
    rng = np.random.default_rng(seed)
    buffer = rng.integers(0, 256, layout.size * array.itemsize, dtype=np.uint8)
    buffer = buffer.view(array.dtype)
    places(buffer, View.of(array.shape, layout))[...] = array
    return buffer


def places(buffer: Array, view: View) -> Array:
    """Return the elements of a view, writable."""
    step = buffer.itemsize
    strides = [stride * step for stride in view.strides]
    return np.lib.stride_tricks.as_strided(buffer[view.offset :], view.shape, strides)


def run(template: Any, arguments: Sequence[Array], layout: Layout, dtype: str) -> Array:
    """Return the output buffer of a template built for its number of lanes."""
    arrays = [*(array.reshape(-1) for array in arguments), np.full(layout.size, 77, dtype)]
    return run_all(template, arrays)[-1]


def run_all(template: Any, arrays: Sequence[Array]) -> list[Array]:
    """Return all flat arrays after a template built for its number of lanes ran on them."""
    if template.lanes == NEON.lanes:
        return emulator.run_all(template.func(), NEON, arrays)
    tensors = [tvm.runtime.tensor(array) for array in arrays]
    _built(template)(*tensors)
    return [np.asarray(tensor.numpy()) for tensor in tensors]


def image(buffer: Array, view: View, zero_point: int) -> Array:
    """Return the tensor in a buffer, after a look at its halo."""
    layout = view.layout
    lines = buffer.reshape(layout.n, layout.stored_h, layout.stored_w, layout.c_pad)
    outside = np.ones(lines.shape, bool)
    top, left = layout.halo.top, layout.halo.left
    outside[:, top : top + layout.h, left : left + layout.w] = False
    assert (lines[outside] == zero_point).all()
    return places(buffer, view).copy()


def last_step(t: Array, epilogue: Epilogue) -> Array:
    """Return what is stored of real numbers in float32."""
    if epilogue.dtype == "float32":
        clipped: Array = np.clip(t, np.float32(epilogue.lo), np.float32(epilogue.hi))
        return clipped
    y = np.rint(t).astype(np.float64) + epilogue.zero_point
    return np.asarray(np.clip(y, epilogue.lo, epilogue.hi), epilogue.dtype)


@cache
def _built(template: Any) -> Any:
    cpu = {"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": CPUS[template.lanes]}
    function = template.func().with_attr("global_symbol", "main")
    return tvm.compile(function, target=tvm.target.Target(cpu))["main"]
