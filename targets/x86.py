"""x86: the instruction sets with and without VNNI."""

from __future__ import annotations

from typing import Any

from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr, Isa


def _vnni_broadcast(lanes: int) -> Any:
    def broadcast(buffer: Any, index: Expr) -> Expr:
        """Four neighbouring bytes in every lane."""
        group = tir.reinterpret("int32", buffer.vload([index], "uint8x4"))
        return tir.reinterpret(f"int8x{4 * lanes}", tir.broadcast(group, lanes))

    return broadcast


def _vnni_weights(lanes: int) -> Any:
    def weights(buffer: Any, index: Expr) -> Expr:
        """Four weights a lane, as stored."""
        return buffer.vload([index], f"int8x{4 * lanes}")

    return weights


def _vnni_dot(lanes: int) -> Any:
    def dot(acc: Expr, a: Expr, w: Expr) -> Expr:
        """vpdpbusd: four u8 x s8 products a lane, summed in int32; it cannot saturate."""
        name = f"llvm.x86.avx512.vpdpbusd.{32 * lanes}"
        return tir.call_llvm_pure_intrin(f"int32x{lanes}", name, acc, a, w)

    return dot


def _avx2_broadcast(buffer: Any, index: Expr) -> Expr:
    """Two neighbouring bytes in every lane, widened to int16."""
    pair = tir.reinterpret("int16", buffer.vload([index], "uint8x2"))
    return tir.cast(tir.reinterpret("uint8x16", tir.broadcast(pair, 8)), "int16x16")


def _avx2_weights(buffer: Any, index: Expr) -> Expr:
    """Two weights a lane, widened to int16."""
    return tir.cast(buffer.vload([index], "int8x16"), "int16x16")


def _avx2_dot(acc: Expr, a: Expr, w: Expr) -> Expr:
    """Vpmaddwd and an add: int16 products, summed in int32.

    Not vpmaddubsw, which adds two u8 x s8 products in int16 and saturates.
    """
    return acc + tir.call_llvm_pure_intrin("int32x8", "llvm.x86.avx2.pmadd.wd", a, w)


VNNI512 = Isa(
    name="avx512-vnni",
    lanes=16,
    k_group=4,
    registers=32,
    activation="uint8",
    broadcast=_vnni_broadcast(16),
    weights=_vnni_weights(16),
    dot=_vnni_dot(16),
    tvm_target={"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "cascadelake"},
)

AVXVNNI = Isa(
    name="avx-vnni",
    lanes=8,
    k_group=4,
    registers=16,
    activation="uint8",
    broadcast=_vnni_broadcast(8),
    weights=_vnni_weights(8),
    dot=_vnni_dot(8),
    tvm_target={"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "alderlake"},
)

AVX2 = Isa(
    name="avx2",
    lanes=8,
    k_group=2,
    registers=16,
    activation="uint8",
    broadcast=_avx2_broadcast,
    weights=_avx2_weights,
    dot=_avx2_dot,
    tvm_target={"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "haswell"},
)
