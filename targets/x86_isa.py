"""x86: the instruction sets with and without VNNI, as the kernel templates see them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr, Isa
from qcompile.targets.kernels.blocks import part
from qcompile.targets.kernels.epilogue import Epilogue, rounded, splat


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


@dataclasses.dataclass(frozen=True)
class Packs:
    """The saturating packs of a register width, which work on its 16-byte parts.

    Attributes:
        lanes: int32 lanes of a register.
        words: Intrinsic: two registers of int32 -> int16.
        unsigned: Intrinsic: two registers of int16 -> uint8.
        signed: Intrinsic: two registers of int16 -> int8.
    """

    lanes: int
    words: str
    unsigned: str
    signed: str

    def narrow_quad(self, results: Sequence[Expr], epilogue: Epilogue) -> Expr:
        """Three packs of four vectors; what they mix up, the quad's order has mixed before."""
        saturated = epilogue.bounded
        lanes = self.lanes
        vectors = [
            rounded(t, lanes) if saturated else epilogue.widest(t, lanes=lanes)
            for t in results
        ]
        words = [self._words(*vectors[i : i + 2]) for i in range(0, len(vectors), 2)]
        if saturated and epilogue.zero_point:
            point = splat("int16", epilogue.zero_point, 2 * lanes)
            words = [
                tir.call_llvm_pure_intrin(f"int16x{2 * lanes}", "llvm.sadd.sat", word, point)
                for word in words
            ]
        name = self.signed if epilogue.dtype == "int8" else self.unsigned
        packed = tir.call_llvm_pure_intrin(f"int8x{4 * lanes}", name, words[0], words[-1])
        stored = tir.reinterpret(f"{epilogue.dtype}x{4 * lanes}", packed)
        return epilogue.clamp_stored(stored, lanes=4 * lanes) if saturated else stored

    def narrow(self, results: Sequence[Expr], epilogue: Epilogue) -> Expr:
        """The same in natural order: one more permutation, of dwords."""
        lanes = self.lanes
        packed = self.narrow_quad(results, epilogue)
        dwords = tir.reinterpret(f"int32x{lanes}", packed)
        parts = lanes // 4
        order = [4 * part + t for t in range(4) for part in range(parts)]
        natural = tir.reinterpret(
            f"{epilogue.dtype}x{4 * lanes}", tir.Shuffle([dwords], order)
        )
        return natural if len(results) == 4 else part(natural, 0, lanes, len(results))

    def _words(self, first: Expr, second: Expr | None = None) -> Expr:
        """Return int16 of two vectors, or twice of one."""
        second = first if second is None else second
        name = f"int16x{2 * self.lanes}"
        return tir.call_llvm_pure_intrin(name, self.words, first, second)


_PACKS512 = Packs(
    16,
    "llvm.x86.avx512.packssdw.512",
    "llvm.x86.avx512.packuswb.512",
    "llvm.x86.avx512.packsswb.512",
)
_PACKS256 = Packs(
    8, "llvm.x86.avx2.packssdw", "llvm.x86.avx2.packuswb", "llvm.x86.avx2.packsswb"
)


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
    dots_read=True,
    narrow=_PACKS512.narrow,
    narrow_quad=_PACKS512.narrow_quad,
    joined=4,
    prefetches=True,
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
    dots_read=True,
    narrow=_PACKS256.narrow,
    narrow_quad=_PACKS256.narrow_quad,
    joined=4,
    prefetches=True,
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
    narrow=_PACKS256.narrow,
    narrow_quad=_PACKS256.narrow_quad,
    joined=4,
    tvm_target={"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "haswell"},
)
