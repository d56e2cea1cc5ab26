"""What a CPU kernel template knows of an instruction set: sizes, and its dot product."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Expr = Any
"""A TIR expression (tvm carries no types)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Isa:
    """One instruction set of a CPU family.

    `dot(acc, a, w)` adds, lane by lane, the sum of `k_group` products to an accumulator:
    acc int32[lanes], a from `broadcast`, w from `weights`. It is exact for every activation
    of type `activation` and every int8 weight: no saturation on the way.

    Attributes:
        name: For the manifest.
        lanes: int32 lanes of a vector register.
        k_group: Neighbouring input channels that one dot instruction sums into a lane.
        registers: Vector registers.
        activation: "uint8" or "int8": the type of the activations that `dot` takes.
        broadcast: (buffer, flat index) -> the k_group activations there, in every lane.
        weights: (buffer, flat index) -> lanes * k_group weights, lane-major, as `dot` takes.
        dot: (acc, a, w) -> the new accumulator.
        narrow: (four int32 vectors of a quad, "uint8" or "int8") -> their bytes in natural
            order, values of that type given; None where plain shuffles are as good.
        tvm_target: What TVM's LLVM back end is told.
        l1_bytes: First-level data cache.
        l2_bytes: Second-level cache.
    """

    name: str
    lanes: int
    k_group: int
    registers: int
    activation: str
    broadcast: Callable[[Any, Expr], Expr]
    weights: Callable[[Any, Expr], Expr]
    dot: Callable[[Expr, Expr, Expr], Expr]
    tvm_target: Mapping[str, Any] = dataclasses.field(hash=False)
    narrow: Callable[[Sequence[Expr], str], Expr] | None = None
    l1_bytes: int = 32 * 1024
    l2_bytes: int = 1024 * 1024
