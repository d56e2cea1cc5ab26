"""x86: the instruction sets with and without VNNI, as the kernel templates see them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr, Isa
from qcompile.targets.kernels.epilogue import Epilogue


def _broadcast(lanes: int) -> Any:
    def broadcast(buffer: Any, pixels: Sequence[Expr], group: int, count: int) -> Expr:
        """Four neighbouring bytes in every lane; a group is loaded by itself."""
        assert (group, count) == (0, 1)
        four = tir.reinterpret("int32", buffer.vload([pixels[0]], "uint8x4"))
        return tir.reinterpret(f"int8x{4 * lanes}", tir.broadcast(four, lanes))

    return broadcast


def _weights(lanes: int) -> Any:
    def weights(buffer: Any, index: Expr, place: int, count: int) -> Expr:
        """Four weights a lane, as stored; a register is loaded by itself."""
        assert (place, count) == (0, 1)
        return buffer.vload([index], f"int8x{4 * lanes}")

    return weights


def _vnni_dot(lanes: int) -> Any:
    def dot(acc: Expr, a: Expr, w: Expr) -> Expr:
        """vpdpbusd: four u8 x s8 products a lane, summed in int32; it cannot saturate."""
        name = f"llvm.x86.avx512.vpdpbusd.{32 * lanes}"
        return tir.call_llvm_pure_intrin(f"int32x{lanes}", name, acc, a, w)

    return dot


def _avx2_dot(acc: Expr, a: Expr, w: Expr) -> Expr:
    """Even and odd bytes apart, widened to int16, each with vpmaddwd: it cannot saturate.

    Not vpmaddubsw, which adds two u8 x s8 products in int16.
    """
    eight = tir.broadcast(tir.int16(8), 16)
    a, w = tir.reinterpret("int16x16", a), tir.reinterpret("int16x16", w)
    even = tir.bitwise_and(a, tir.broadcast(tir.int16(255), 16))
    odd = tir.reinterpret("uint16x16", a) >> tir.broadcast(tir.uint16(8), 16)
    acc = acc + _vpmaddwd(even, tir.shift_left(w, eight) >> eight)
    return acc + _vpmaddwd(tir.reinterpret("int16x16", odd), w >> eight)


def _vpmaddwd(a: Expr, w: Expr) -> Expr:
    return tir.call_llvm_pure_intrin("int32x8", "llvm.x86.avx2.pmadd.wd", a, w)


def _avx512_narrow(results: Sequence[Expr], epilogue: Epilogue) -> Expr:
    """Three packs; LLVM makes eleven instructions of the same as shuffles."""
    vectors = [epilogue.widest(t, lanes=16) for t in results]
    words = [
        tir.call_llvm_pure_intrin("int16x32", "llvm.x86.avx512.packssdw.512", *pair)
        for pair in (vectors[:2], vectors[2:])
    ]
    name = {"uint8": "llvm.x86.avx512.packuswb.512", "int8": "llvm.x86.avx512.packsswb.512"}
    packed = tir.call_llvm_pure_intrin("int8x64", name[epilogue.dtype], *words)
    return tir.reinterpret(f"{epilogue.dtype}x64", packed)


def _vbmi_lookup(table: Any, indices: Expr) -> Expr:
    """Two vpermi2b, each over half of the table; the highest bit of the index chooses."""
    quarters = [
        tir.reinterpret("int8x64", table.vload([at], f"{table.dtype}x64"))
        for at in range(0, 256, 64)
    ]
    at = tir.reinterpret("int8x64", indices)
    name = "llvm.x86.avx512.vpermi2var.qi.512"
    low, high = (
        tir.call_llvm_pure_intrin("int8x64", name, first, at, second)
        for first, second in (quarters[:2], quarters[2:])
    )
    upper = at < tir.broadcast(tir.int8(0), 64)
    return tir.reinterpret("uint8x64", tir.Select(upper, high, low))


_VNNI512 = Isa(
    name="avx512-vnni",
    lanes=16,
    k_group=4,
    registers=32,
    activation="uint8",
    activations=_broadcast(16),
    weights=_weights(16),
    dot=_vnni_dot(16),
    lane_dot=_vnni_dot(16),
    narrow=_avx512_narrow,
    tvm_target={"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "cascadelake"},
)

VNNI512_VBMI = dataclasses.replace(
    _VNNI512,
    name="avx512-vnni-vbmi",
    lookup=_vbmi_lookup,
    looked_up=64,
    tvm_target={**_VNNI512.tvm_target, "mattr": ["+avx512vbmi"]},
)
"""What Ice Lake, Zen 4 and later have."""

VNNI512 = dataclasses.replace(_VNNI512, faster=("avx512_vbmi", VNNI512_VBMI))

AVXVNNI = Isa(
    name="avx-vnni",
    lanes=8,
    k_group=4,
    registers=16,
    activation="uint8",
    activations=_broadcast(8),
    weights=_weights(8),
    dot=_vnni_dot(8),
    lane_dot=_vnni_dot(8),
    tvm_target={"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "alderlake"},
)

AVX2 = Isa(
    name="avx2",
    lanes=8,
    k_group=4,
    registers=16,
    activation="uint8",
    activations=_broadcast(8),
    weights=_weights(8),
    dot=_avx2_dot,
    lane_dot=_avx2_dot,
    tvm_target={"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "haswell"},
)
