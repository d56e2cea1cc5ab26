"""What a CPU kernel template knows of an instruction set: sizes, and its dot products."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qcompile.targets.kernels.epilogue import Epilogue

Expr = Any
"""A TIR expression (tvm carries no types)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Isa:
    """One instruction set of a CPU family.

    Dense kernels use `dot(acc, a, w)`. It multiplies `rows` pixels of `k_group` input channels
    by `lanes / rows` output channels and adds the products to acc, int32[lanes], in which the
    output channels of a pixel are neighbours. Depthwise kernels use `lane_dot(acc, a, w)`,
    which adds to each lane the `taps` products of its own bytes. Both are exact for every
    activation of type `activation` and every int8 weight: no saturation on the way.

    Attributes:
        name: For the manifest.
        lanes: int32 lanes of a vector register.
        registers: Vector registers.
        spare: Registers that a tile leaves beside its accumulators and the operands that it
            keeps: for operands on their way, where none comes straight from memory, and for
            constants.
        activation: "uint8" or "int8": the type of the activations that the dots take.
        k_group: Neighbouring input channels that one `dot` sums.
        rows: Pixels of one `dot`.
        groups: Most groups of k_group channels that are loaded at once; a power of two.
        activations: (buffer, flat index of each pixel, group, count) -> the operand of one
            group, of `count` neighbouring groups that are loaded together from there on.
        weights: (buffer, flat index, place, count) -> the operand at a place of `count`
            neighbouring ones that are loaded together from there on: lanes / rows channels,
            k_group weights each.
        fetched: Most operands of weights that are loaded at once; a power of two.
        dot: (acc, a, w) -> the new accumulator.
        taps: Bytes that `lane_dot` sums into a lane: 4 or 1.
        lane_dot: (acc, a, w) -> the new accumulator; a and w are int8[taps * lanes], or
            int16[lanes] where taps is 1.
        narrow: (real results t of 1 to `joined` vectors, epilogue) -> what is stored of them,
            one after the other; None where plain casts are as good.
        narrow_quad: The same of the four vectors of a quad (`interleave.channel_order`), whose
            channels are then in natural order.
        joined: Vectors that `narrow` takes at most; 1 where each is stored by itself.
        operand_cost: Instructions that make one pixel's share of an operand, for each dot.
        weight_cost: Instructions that load a register of weights; 0 where dots take it from
            memory.
        dots_read: Whether a dot takes its weights from memory as they are, so that it gains
            nothing to keep them in registers.
        fetch_cycles: Time in which a vector of weights comes from L2.
        lookup: (buffer of 256 bytes, indices uint8[n]) -> their entries; None where looking
            up one after the other is as good.
        looked_up: How many bytes `lookup` takes at once.
        faster: The CPU feature, as /proc/cpuinfo names it, that some CPUs of the kind have
            beside what the target asks for, and the instruction set with it: kernels that
            gain by it are there twice, and the library takes the one that fits.
        tvm_target: What TVM's LLVM back end is told.
        prefetches: Whether kernels ask for weights before they need them.
        l2_bytes: Second-level cache.
    """

    name: str
    lanes: int
    registers: int
    spare: int = 2
    activation: str
    k_group: int
    rows: int = 1
    groups: int = 1
    activations: Callable[[Any, Sequence[Expr], int, int], Expr]
    weights: Callable[[Any, Expr, int, int], Expr]
    fetched: int = 1
    dot: Callable[[Expr, Expr, Expr], Expr]
    taps: int = 4
    lane_dot: Callable[[Expr, Expr, Expr], Expr]
    tvm_target: Mapping[str, Any] = dataclasses.field(hash=False)
    narrow: Callable[[Sequence[Expr], Epilogue], Expr] | None = None
    narrow_quad: Callable[[Sequence[Expr], Epilogue], Expr] | None = None
    joined: int = 1
    lookup: Callable[[Any, Expr], Expr] | None = None
    looked_up: int = 0
    faster: tuple[str, Isa] | None = None
    operand_cost: float = 1.0
    weight_cost: float = 0.0
    dots_read: bool = False
    fetch_cycles: float = 1.2
    prefetches: bool = False
    l2_bytes: int = 1024 * 1024

    @property
    def channels(self) -> int:
        """What stored channels are rounded to: whole vectors and whole groups."""
        return max(self.lanes, self.k_group)
