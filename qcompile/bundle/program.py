"""A model as kernels to call in order, over numbered buffers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import onnx_ir as ir

from qcompile.target import KernelInfo

UNNAMED = KernelInfo("", "")


@dataclasses.dataclass(frozen=True)
class Call:
    """One kernel call: `kernel(reads..., writes...)`, all of them pointers.

    Attributes:
        kernel: Symbol in the object code; a C function that returns 0.
        reads: Buffers that it reads.
        writes: Buffers that it writes whole; the last ones may be memory for its own use.
        info: What it computes, and how.
    """

    kernel: str
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    info: KernelInfo = UNNAMED


@dataclasses.dataclass(frozen=True)
class Faster:
    """Kernels for CPUs that have a feature beside those of the target.

    Attributes:
        feature: As /proc/cpuinfo names it.
        object_code: A relocatable object file that defines them.
        kernels: By the symbol of the kernel that each stands in for.
    """

    feature: str
    object_code: bytes
    kernels: Mapping[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """A straight line of kernel calls.

    Attributes:
        object_code: A relocatable object file that defines every kernel.
        calls: In order.
        sizes: Bytes of every buffer, by its number.
        constants: The contents of the buffers that hold weights.
        inputs: The buffers of the graph inputs, in their order.
        outputs: The buffers of the graph outputs, in their order; one may stand twice, or be
            an input or a constant.
        faster: Kernels that the CPU may allow, if there are any.
    """

    object_code: bytes
    calls: tuple[Call, ...]
    sizes: tuple[int, ...]
    constants: Mapping[int, bytes]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    faster: Faster | None = None

    def given(self) -> frozenset[int]:
        """Return the buffers that no call writes."""
        return frozenset({*self.inputs, *self.constants})

    def kernels(self) -> tuple[KernelInfo, ...]:
        """Return what each call computes, with the bytes that it reads and writes.

        Memory for its own use is not counted: no other call reads it.
        """
        wanted = {*self.outputs, *(buffer for call in self.calls for buffer in call.reads)}
        return tuple(
            dataclasses.replace(
                call.info,
                bytes=sum(
                    self.sizes[buffer]
                    for buffer in {*call.reads, *(wanted & set(call.writes))}
                ),
            )
            for call in self.calls
        )


@runtime_checkable
class AheadOfTime(Protocol):
    """A lowering whose kernels can be called from C."""

    def program(self, model: ir.Model, /) -> Program:
        """Compile the integer graph to kernels and the order of their calls.

        Raises:
            CompileError: A node that no kernel takes.
        """
        ...
