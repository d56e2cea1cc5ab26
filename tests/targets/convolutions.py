"""Random convolutions, their plain integer reference, and a way to run a kernel on them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import tvm
from hypothesis import strategies as st

from qcompile.host import host_features
from qcompile.numerics import fma32
from qcompile.targets.isa import Isa
from qcompile.targets.kernels.dense_conv import DenseConv
from qcompile.targets.kernels.depthwise_conv import DepthwiseConv
from qcompile.targets.kernels.epilogue import Epilogue
from qcompile.targets.kernels.float_conv import FloatConv
from qcompile.targets.kernels.float_depthwise import FloatDepthwise
from qcompile.targets.layout import Halo, Layout, round_up
from qcompile.targets.x86_isa import AVX2, AVXVNNI, VNNI512
from tests.targets import emulator

Array = npt.NDArray[Any]
Kernel = DenseConv | DepthwiseConv
AnyKernel = Kernel | FloatConv | FloatDepthwise

CPUS = {
    VNNI512: ("cascadelake", "avx512_vnni"),
    AVXVNNI: ("cascadelake", "avx512_vnni"),
    AVX2: ("haswell", "avx2"),
}
"""What each set is compiled for here, and the flag that this takes.

The 256-bit vpdpbusd runs in its AVX-512 encoding, on more machines than in its own.
"""

RUNNABLE = [isa for isa, (_, flag) in CPUS.items() if flag in host_features()]
"""What this machine can run by itself."""

ZERO_POINTS = {"uint8": (0, 1, 128, 255), "int8": (-128, -1, 0, 127)}


@dataclasses.dataclass(frozen=True)
class Data:
    """What goes into a convolution, as logical arrays."""

    x: Array
    weight: Array
    bias: Array
    multiplier: Array
    x_zero_point: int
    residual: Array | None
    r_multiplier: np.float32


FILLS = ("random", "random", "highest", "lowest", "zero")


def fill(kind: str, dtype: str, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Return random integers of a type, or one extreme everywhere."""
    info = np.iinfo(dtype)
    ends = {"highest": info.max, "lowest": info.min, "zero": 0}
    if kind in ends:
        return np.full(shape, ends[kind], dtype)
    return rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)


@st.composite
def data(draw: st.DrawFn, kernel: Kernel) -> Data:
    """Draw the arrays of a kernel; multipliers spread the sums over the output or tie."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x, y = kernel.x, kernel.y
    group = kernel.group if isinstance(kernel, DenseConv) else x.c
    weight_shape = (y.c, x.c // group, *kernel.kernel)
    weight = fill(draw(st.sampled_from(FILLS)), "int8", weight_shape, rng)
    spread = 200 / (70 * 70 * math.sqrt(math.prod(weight_shape[1:])))
    multiplier = spread * np.exp2(rng.uniform(-3, 3, y.c))
    if draw(st.booleans()):
        multiplier = np.exp2(np.round(np.log2(multiplier)))
    residual = None
    if kernel.residual is not None:
        shape = (y.n, y.c, y.h, y.w)
        if kernel.r_dtype == "float32":
            residual = rng.normal(0, 50, shape).astype(np.float32)
        else:
            residual = fill(draw(st.sampled_from(FILLS)), kernel.r_dtype, shape, rng)
    return Data(
        x=fill(draw(st.sampled_from(FILLS)), kernel.isa.activation, (x.n, x.c, x.h, x.w), rng),
        weight=weight,
        bias=rng.integers(-20000, 20000, y.c),
        multiplier=multiplier.astype(np.float32),
        x_zero_point=draw(st.sampled_from(ZERO_POINTS[kernel.isa.activation])),
        residual=residual,
        r_multiplier=np.float32(rng.uniform(0.01, 2)),
    )


@st.composite
def fields(
    draw: st.DrawFn, isas: Sequence[Isa], *, inputs: int, outputs: int, depthwise: bool
) -> dict[str, Any]:
    """Draw the fields that both templates share."""
    isa = draw(st.sampled_from(isas))
    kernel = draw(st.one_of(st.just((1, 1)), PAIRS, PAIRS))
    strides, dilations = draw(st.one_of(st.just((1, 1)), STEPS)), draw(STEPS)
    n, size = draw(st.integers(1, 2)), (draw(st.integers(1, 9)), draw(st.integers(1, 17)))
    pads, behind, out = [0, 0], [0, 0], [0, 0]
    for axis in range(2):
        reach = (kernel[axis] - 1) * dilations[axis]
        pads[axis] = draw(st.integers(0, reach))
        behind[axis] = draw(st.integers(max(0, reach + 1 - size[axis] - pads[axis]), reach))
        total = size[axis] + pads[axis] + behind[axis]
        out[axis] = (total - reach - 1) // strides[axis] + 1
    more = draw(st.sampled_from([0, 0, 1]))
    halo = Halo(pads[0] + more, pads[1], behind[0], behind[1] + more)
    steps = [isa.channels] if depthwise else [isa.channels, isa.k_group]
    padded = round_up(inputs, draw(st.sampled_from(steps)))
    x = Layout(n, size[0], size[1], inputs, padded, halo)
    epilogue = draw(epilogues())
    unpadded = epilogue.dtype == "float32" and draw(st.booleans())
    c_pad = outputs if unpadded else round_up(outputs, isa.lanes)
    y = Layout(n, out[0], out[1], outputs, c_pad, Halo() if unpadded else draw(HALOS))
    result = {
        "x": x,
        "y": y,
        "isa": isa,
        "epilogue": epilogue,
        "kernel": kernel,
        "strides": strides,
        "dilations": dilations,
        "pads": tuple(pads),
        "parallel": draw(st.booleans()),
    }
    if draw(st.booleans()):
        padded = round_up(outputs, draw(st.sampled_from([1, isa.lanes])))
        result["residual"] = dataclasses.replace(y, c_pad=padded, halo=draw(HALOS))
        result["r_dtype"] = draw(st.sampled_from(["uint8", "int8"]))
        result["r_zero_point"] = draw(st.sampled_from([0, 3, 127]))
    return result


PAIRS = st.tuples(st.integers(1, 5), st.integers(1, 5))
STEPS = st.tuples(st.integers(1, 3), st.integers(1, 3))
HALOS = st.sampled_from([Halo(), Halo(), Halo(1, 1, 1, 1), Halo(0, 2, 1, 0)])


@st.composite
def epilogues(draw: st.DrawFn) -> Epilogue:
    """Draw a type, a zero point and bounds."""
    dtype = draw(st.sampled_from(["uint8", "uint8", "int8", "float32"]))
    if dtype == "float32":
        return Epilogue(dtype=dtype, lo=draw(st.sampled_from([-math.inf, 0.0, -1.5])))
    info = np.iinfo(dtype)
    zero_point = draw(st.integers(int(info.min), int(info.max)))
    lo, hi = draw(st.sampled_from([(-math.inf, math.inf), (zero_point, math.inf), (3, 90)]))
    bounded = draw(st.booleans())  # no drawn sum reaches 2**31
    return Epilogue(dtype=dtype, zero_point=zero_point, lo=lo, hi=hi, bounded=bounded)


def reference(kernel: Kernel, given: Data) -> Array:
    """Return what `qcompile.ops` says, tap by tap in int64."""
    x, y = kernel.x, kernel.y
    group = kernel.group if isinstance(kernel, DenseConv) else x.c
    reach = [
        (size - 1) * stride + (taps - 1) * dilation + 1
        for size, stride, taps, dilation in zip(
            (y.h, y.w), kernel.strides, kernel.kernel, kernel.dilations, strict=True
        )
    ]
    image = np.zeros((x.n, x.c, *(max(r, s + p) for r, s, p in _sizes(kernel, reach))), int)
    top, left = kernel.pads
    centred = given.x.astype(int) - given.x_zero_point
    image[:, :, top : top + x.h, left : left + x.w] = centred
    acc = np.zeros((y.n, y.c, y.h, y.w), int) + given.bias[:, None, None]
    parts = zip(np.split(image, group, axis=1), np.split(given.weight, group), strict=True)
    for g, (source, weight) in enumerate(parts):
        outputs = slice(g * len(weight), (g + 1) * len(weight))
        for kh, kw in np.ndindex(kernel.kernel):
            h, w = kh * kernel.dilations[0], kw * kernel.dilations[1]
            rows = slice(h, h + (y.h - 1) * kernel.strides[0] + 1, kernel.strides[0])
            columns = slice(w, w + (y.w - 1) * kernel.strides[1] + 1, kernel.strides[1])
            taps = weight[:, :, kh, kw].astype(int)
            acc[:, outputs] += np.einsum("nchw,oc->nohw", source[:, :, rows, columns], taps)
    assert -(2**31) <= acc.min() <= acc.max() < 2**31
    real, multiplier = acc.astype(np.float32), given.multiplier[:, None, None]
    t = real * multiplier
    if given.residual is not None:
        r = given.residual
        if r.dtype != np.float32:
            r = (r.astype(int) - kernel.r_zero_point).astype(np.float32) * given.r_multiplier
        t = fma32(real, multiplier, r)
    last = kernel.epilogue
    if last.dtype == "float32":
        return np.clip(t, np.float32(last.lo), np.float32(last.hi))
    y_value = np.clip(np.rint(t) + last.zero_point, last.lo, last.hi)
    return np.asarray(y_value, last.dtype)


def _sizes(kernel: Kernel, reach: list[int]) -> list[tuple[int, int, int]]:
    sizes = (kernel.x.h, kernel.x.w)
    return list(zip(reach, sizes, kernel.pads, strict=True))


def compute(kernel: Kernel, given: Data) -> Array:
    """Compile and run on buffers with junk where nothing is; check the output's halo."""
    arrays = [store(given.x, kernel.x, given.x_zero_point)]
    arrays += kernel.pack(given.weight, given.bias, given.multiplier, given.x_zero_point)
    if kernel.residual is not None and given.residual is not None:
        arrays += [store(given.residual, kernel.residual, 9)]
        arrays += [] if kernel.r_dtype == "float32" else [given.r_multiplier.reshape(1)]
    output = run(kernel, [*arrays, np.full(kernel.y.size, 77, kernel.epilogue.dtype)])
    y, halo = kernel.y, kernel.y.halo
    lines = output.reshape(y.n, y.stored_h, y.stored_w, y.c_pad)
    inside = np.zeros(lines.shape, bool)
    inside[:, halo.top : halo.top + y.h, halo.left : halo.left + y.w] = True
    assert (lines[~inside] == kernel.epilogue.zero_point).all()
    pixels = lines[:, halo.top : halo.top + y.h, halo.left : halo.left + y.w, : y.c]
    return np.asarray(pixels.transpose(0, 3, 1, 2))


def run(kernel: AnyKernel, arrays: Sequence[Array]) -> Array:
    """Return the last array after the kernel ran, here or on an emulated CPU."""
    if kernel.isa in emulator.CPUS:
        return emulator.run(kernel.func(), kernel.isa, arrays)
    tensors = [tvm.runtime.tensor(array) for array in arrays]
    _built(kernel)(*tensors)
    return np.asarray(tensors[-1].numpy())


def store(array: Array, layout: Layout, halo_value: int) -> Array:
    """Return the flat buffer of (n, c, h, w); channels that are only padding hold junk."""
    rng = np.random.default_rng(0)
    shape = (layout.n, layout.stored_h, layout.stored_w, layout.c_pad)
    junk = "uint8" if array.dtype == np.float32 else str(array.dtype)
    buffer = fill("random", junk, shape, rng).astype(array.dtype)
    buffer[..., : layout.c] = halo_value
    top, left = layout.halo.top, layout.halo.left
    inside = buffer[:, top : top + layout.h, left : left + layout.w, : layout.c]
    inside[...] = array.transpose(0, 2, 3, 1)
    return buffer.reshape(-1)


def compiled(kernel: AnyKernel) -> Any:
    """Return the kernel's module for this machine."""
    return tvm.compile(kernel.func(), target=target(kernel.isa))


def target(isa: Isa) -> Any:
    """Return the TVM target under which an instruction set runs here."""
    return tvm.target.Target({**isa.tvm_target, "mcpu": CPUS[isa][0]})


@cache
def _built(kernel: AnyKernel) -> Any:
    return compiled(kernel)["main"]
