"""ARM: 64-bit instruction sets with and without dot products, as the templates see them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr, Isa
from qcompile.targets.kernels.blocks import widened
from qcompile.targets.kernels.epilogue import Epilogue, splat


def _lane(buffer: Any, pixels: Sequence[Expr], group: int, count: int) -> Expr:
    """One of `count` groups of four bytes in every lane: sdot takes it from the load."""
    groups = tir.reinterpret(_ints(32, count), buffer.vload([pixels[0]], f"int8x{4 * count}"))
    return tir.reinterpret("int8x16", _same(groups, group, count))


def _wide_lane(buffer: Any, pixels: Sequence[Expr], group: int, count: int) -> Expr:
    """One of `count` bytes, widened, in every lane: smlal takes it from the load."""
    wide = tir.cast(buffer.vload([pixels[0]], _ints(8, count)), _ints(16, count))
    return _same(wide, group, count)


def _same(vector: Expr, lane: int, lanes: int) -> Expr:
    """One lane of a vector in four."""
    if lanes == 1:
        return tir.broadcast(vector, 4)
    return tir.Shuffle([vector, vector], [lane] * 4)


def _pair(buffer: Any, pixels: Sequence[Expr], group: int, count: int) -> Expr:
    """One of `count` groups of eight bytes of two pixels, one after the other."""
    halves = [
        tir.reinterpret(_ints(64, count), buffer.vload([pixel], f"int8x{8 * count}"))
        for pixel in pixels
    ]
    return tir.reinterpret("int8x16", tir.Shuffle(halves, [group, count + group]))


def _weights(buffer: Any, index: Expr, place: int, count: int) -> Expr:
    """A register of weights, as stored."""
    assert (place, count) == (0, 1)
    return buffer.vload([index], "int8x16")


def _wide_weights(buffer: Any, index: Expr, place: int, count: int) -> Expr:
    """One of `count` vectors of four weights that are loaded together, widened."""
    return widened(buffer, index, 4, count)[place]


def _sdot(acc: Expr, a: Expr, w: Expr) -> Expr:
    """Four products a lane, summed in int32: it cannot saturate."""
    return _dot("llvm.aarch64.neon.sdot.v4i32.v16i8", acc, w, a)


def _smmla(acc: Expr, a: Expr, w: Expr) -> Expr:
    """Two pixels by two channels, eight products each, summed in int32."""
    return _dot("llvm.aarch64.neon.smmla.v4i32.v16i8", acc, a, w)


def _dot(name: str, acc: Expr, a: Expr, w: Expr) -> Expr:
    return tir.call_llvm_pure_intrin("int32x4", name, acc, a, w)


def _smlal(acc: Expr, a: Expr, w: Expr) -> Expr:
    """One product of widened bytes a lane: exact in int32."""
    return acc + tir.call_llvm_pure_intrin("int32x4", "llvm.aarch64.neon.smull.v4i32", a, w)


def _tbl_lookup(table: Any, indices: Expr) -> Expr:
    """Four tables of 64 bytes, one after the other: tbx leaves what is beyond its own."""
    parts = [
        tir.reinterpret("int8x16", table.vload([at], f"{table.dtype}x16"))
        for at in range(0, 256, 16)
    ]
    found = tir.broadcast(tir.int8(0), 16)
    for first in range(0, 256, 64):
        at = tir.reinterpret("int8x16", indices - tir.broadcast(tir.uint8(first), 16))
        four = parts[first // 16 : first // 16 + 4]
        name = "llvm.aarch64.neon.tbx4.v16i8"
        found = tir.call_llvm_pure_intrin("int8x16", name, found, *four, at)
    return tir.reinterpret("uint8x16", found)


def _ints(bits: int, lanes: int) -> str:
    return f"int{bits}" if lanes == 1 else f"int{bits}x{lanes}"


def _narrow(results: Sequence[Expr], epilogue: Epilogue) -> Expr:
    """Round, add and narrow with saturation, then clamp bytes.

    Saturating steps give what a clamp to the type's own bounds gives: all are monotone.
    """
    words = [
        tir.call_llvm_pure_intrin(
            "int16x4",
            "llvm.aarch64.neon.sqxtn.v4i16",
            tir.call_llvm_pure_intrin("int32x4", "llvm.aarch64.neon.fcvtns.v4i32.v4f32", t),
        )
        for t in results
    ]
    halves = [_joined(words[i : i + 2], 4) for i in range(0, len(words), 2)]
    if epilogue.zero_point:
        point = splat("int16", epilogue.zero_point, 8)
        name = "llvm.aarch64.neon.sqadd.v8i16"
        halves = [tir.call_llvm_pure_intrin("int16x8", name, half, point) for half in halves]
    signed = epilogue.dtype == "int8"
    name = f"llvm.aarch64.neon.{'sqxtn' if signed else 'sqxtun'}.v8i8"
    narrowed = [tir.call_llvm_pure_intrin("int8x8", name, half) for half in halves]
    size = 4 * len(results)
    stored = tir.reinterpret(f"{epilogue.dtype}x{size}", _joined(narrowed, 8))
    return epilogue.clamp_stored(stored, lanes=size)


def _joined(vectors: Sequence[Expr], lanes: int) -> Expr:
    if len(vectors) == 1:
        return vectors[0]
    return tir.Shuffle(list(vectors), list(range(len(vectors) * lanes)))


def _tvm_target(*attributes: str) -> dict[str, Any]:
    return {"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mattr": list(attributes)}


NEON = Isa(
    name="neon",
    lanes=4,
    registers=32,
    spare=8,
    activation="int8",
    k_group=1,
    groups=8,
    activations=_wide_lane,
    weights=_wide_weights,
    fetched=2,
    dot=_smlal,
    taps=1,
    lane_dot=_smlal,
    narrow=_narrow,
    narrow_quad=_narrow,
    joined=4,
    lookup=_tbl_lookup,
    looked_up=16,
    operand_cost=0.25,
    weight_cost=1.0,
    fetch_cycles=0.3,
    tvm_target=_tvm_target("+neon"),
    l2_bytes=512 * 1024,
)

DOTPROD = Isa(
    name="dotprod",
    lanes=4,
    registers=32,
    spare=8,
    activation="int8",
    k_group=4,
    groups=4,
    activations=_lane,
    weights=_weights,
    dot=_sdot,
    lane_dot=_sdot,
    narrow=_narrow,
    narrow_quad=_narrow,
    joined=4,
    lookup=_tbl_lookup,
    looked_up=16,
    operand_cost=0.25,
    weight_cost=0.5,
    fetch_cycles=0.5,
    tvm_target=_tvm_target("+neon", "+dotprod"),
    l2_bytes=512 * 1024,
)

I8MM = Isa(
    name="i8mm",
    lanes=4,
    registers=32,
    spare=8,
    activation="int8",
    k_group=8,
    rows=2,
    groups=2,
    activations=_pair,
    weights=_weights,
    dot=_smmla,
    lane_dot=_sdot,
    narrow=_narrow,
    narrow_quad=_narrow,
    joined=4,
    lookup=_tbl_lookup,
    looked_up=16,
    operand_cost=1.0,
    weight_cost=0.5,
    fetch_cycles=0.5,
    tvm_target=_tvm_target("+neon", "+dotprod", "+i8mm"),
)
