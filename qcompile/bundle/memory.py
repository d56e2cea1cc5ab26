"""Where the buffers of a program lie in one static arena: first fit, by lifetimes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from qcompile.bundle.program import Program

ALIGNMENT = 64
"""A cache line, and the widest vector of the instruction sets."""

Lifetime = tuple[int, int]
"""The first and the last call that uses a buffer."""


@dataclasses.dataclass(frozen=True)
class Arena:
    """A memory plan: the arena's bytes, and the offset of every buffer in it."""

    size: int
    offsets: Mapping[int, int]


def plan(program: Program) -> Arena:
    """Return the plan for every buffer that is neither given nor an output's own memory."""
    elsewhere = program.given() | direct_outputs(program).keys()
    lifetimes = {
        buffer: lifetime
        for buffer, lifetime in find_lifetimes(program).items()
        if buffer not in elsewhere
    }
    return first_fit(program.sizes, lifetimes)


def direct_outputs(program: Program) -> dict[int, int]:
    """Return the buffers that are written straight into the caller's memory: which output's.

    Not so an output that is an input or a constant, or the second of two that are one buffer:
    it is copied at the end.
    """
    outputs: dict[int, int] = {}
    for position, buffer in enumerate(program.outputs):
        if buffer not in program.given():
            outputs.setdefault(buffer, position)
    return outputs


def find_lifetimes(program: Program) -> dict[int, Lifetime]:
    """Return the lifetime of every buffer that a call uses."""
    lifetimes: dict[int, Lifetime] = {}
    for step, call in enumerate(program.calls):
        for buffer in (*call.reads, *call.writes):
            lifetimes[buffer] = (lifetimes.get(buffer, (step, step))[0], step)
    return lifetimes


def first_fit(sizes: Sequence[int], lifetimes: Mapping[int, Lifetime]) -> Arena:
    """Place the largest first, each at the lowest offset that is free all its life."""
    placed: list[tuple[int, int, Lifetime]] = []
    offsets: dict[int, int] = {}
    for buffer in sorted(lifetimes, key=lambda each: (-sizes[each], each)):
        room, (first, last) = aligned(sizes[buffer]), lifetimes[buffer]
        offset = 0
        for start, end, (born, dies) in sorted(placed):
            if dies < first or last < born:
                continue
            if offset + room <= start:
                break
            offset = max(offset, end)
        offsets[buffer] = offset
        placed.append((offset, offset + room, lifetimes[buffer]))
    return Arena(max((end for _, end, _ in placed), default=0), offsets)


def aligned(size: int) -> int:
    """Return the size with its padding; no buffer is empty."""
    return max(1, -(-size // ALIGNMENT)) * ALIGNMENT
