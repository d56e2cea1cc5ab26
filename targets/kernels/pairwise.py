"""QAdd, QMul and chains of them: one pass over the tensors, element by element."""

from __future__ import annotations

import abc
import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any, ClassVar

from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr, Isa
from qcompile.targets.kernels.depthwise_window import QUAD
from qcompile.targets.kernels.epilogue import Epilogue, splat, vector
from qcompile.targets.kernels.halo import fill_halo
from qcompile.targets.kernels.interleave import interleave
from qcompile.targets.kernels.strided import Spot, for_each
from qcompile.targets.kernels.view import View

EXPONENT = 0x4B
"""The highest byte of 2**23 as float32: the lowest one is what the number is more."""

BEYOND = 1 << 23


@dataclasses.dataclass(frozen=True)
class Number:
    """A vector of quantized numbers on their way.

    Attributes:
        stored: int32, or float32 that is `excess` more than the numbers.
        excess: Exact in float32.
    """

    stored: Expr
    excess: int | None = None

    def real(self, zero_point: int, lanes: int) -> Expr:
        """Return `q - zero_point`, float32[lanes]."""
        if self.excess is not None:
            return self.stored - splat("float32", self.excess + zero_point, lanes)
        integer = self.stored
        if zero_point:
            integer = integer - splat("int32", zero_point, lanes)
        return tir.cast(integer, vector("float32", lanes))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step(abc.ABC):
    """One operator of a chain; its operands are numbered, tensors first, then steps.

    Attributes:
        a: The number of the first operand.
        b: The number of the second.
        a_zero_point: Of a.
        b_zero_point: Of b.
        epilogue: From t to what the operator gives.
    """

    a: int = 0
    b: int = 1
    a_zero_point: int
    b_zero_point: int
    epilogue: Epilogue

    multipliers: ClassVar[int]
    """How many it has."""

    @abc.abstractmethod
    def real(self, a: Expr, b: Expr, multipliers: Sequence[Expr]) -> Expr:
        """Return t, float32.

        Args:
            a: float32, without its zero point.
            b: The same of b.
            multipliers: float32 each.
        """


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pairwise:
    """`func(tensor ..., multiplier[1] ..., y)`: y is what the last step gives.

    What the steps before it give stays in registers. Four vectors at a time are unpacked so
    that their bytes become the last ones of 2**23 + byte in float32, and packed again.

    Attributes:
        inputs: The tensors, each in y's shape (`View.broadcast_to`).
        dtypes: "uint8" or "int8" each.
        steps: The operators, in order.
        y: The answer.
        isa: The instruction set.
        parallel: Whether threads share the work.
    """

    inputs: tuple[View, ...]
    dtypes: tuple[str, ...]
    steps: tuple[Step, ...]
    y: View
    isa: Isa
    parallel: bool = False

    @property
    def lanes(self) -> int:
        """Elements of a vector."""
        return self.isa.lanes

    @property
    def epilogue(self) -> Epilogue:
        """The last step's."""
        return self.steps[-1].epilogue

    def func(self) -> Any:
        """Return the PrimFunc."""
        narrow = self.epilogue.dtype != "float32"
        with IRBuilder() as builder, tir.prim_func(s_tir=True):
            tir.func_name("pairwise")
            tir.func_attr({"tirx.noalias": True})
            tensors = [
                tir.arg(f"x{index}", tir.Buffer((view.layout.size,), dtype))
                for index, (view, dtype) in enumerate(
                    zip(self.inputs, self.dtypes, strict=True)
                )
            ]
            count = sum(step.multipliers for step in self.steps)
            factors = [
                tir.arg(f"multiplier{index}", tir.Buffer((1,), "float32"))
                for index in range(count)
            ]
            y = tir.arg("y", tir.Buffer((self.y.layout.size,), self.epilogue.dtype))

            def body(*spots: Spot) -> None:
                *sources, target = spots
                self._store(tensors, sources, factors, y, target)

            for_each(
                (*self.inputs, self.y),
                body,
                lanes=QUAD * self.lanes if narrow else self.lanes,
                gather=self.lanes,
                narrowest=self.lanes,
                parallel=self.parallel,
            )
            fill_halo(y, self.y.layout, self.epilogue.dtype, self.epilogue.zero_point)
        return builder.get()

    def _store(
        self,
        tensors: Sequence[Any],
        sources: Sequence[Spot],
        factors: Sequence[Any],
        y: Any,
        target: Spot,
    ) -> None:
        """Emit the steps for one place of the output."""
        isa, epilogue = self.isa, self.epilogue
        quad = target.lanes == QUAD * isa.lanes and isa.narrow_quad is not None
        width = min(target.lanes, isa.lanes)
        take = _quad if quad else _in_order
        loaded = [
            take(tensor, spot, dtype, isa.lanes)
            for tensor, spot, dtype in zip(tensors, sources, self.dtypes, strict=True)
        ]
        results = [
            self._chain([vectors[i] for vectors in loaded], factors, width)
            for i in range(target.lanes // width)
        ]
        if quad:
            assert isa.narrow_quad is not None
            target.store(y, isa.narrow_quad(results, epilogue))
        elif len(results) > 1 and isa.narrow is not None:
            target.store(y, isa.narrow(results, epilogue))
        else:
            for i, t in enumerate(results):
                stored = epilogue.store(t, lanes=width)
                part = dataclasses.replace(
                    target, start=target.start + i * width * target.stride, lanes=width
                )
                part.store(y, stored)

    def _chain(self, numbers: Sequence[Number], factors: Sequence[Any], lanes: int) -> Expr:
        """Return the real result of the last step, float32[lanes]."""
        known = list(numbers)
        waiting = iter(factors)
        for step in self.steps:
            taken = itertools.islice(waiting, step.multipliers)
            t = step.real(
                known[step.a].real(step.a_zero_point, lanes),
                known[step.b].real(step.b_zero_point, lanes),
                [Spot(0, 0, lanes).load(factor) for factor in taken],
            )
            if step is not self.steps[-1]:
                known.append(Number(step.epilogue.widest(t, lanes=lanes)))
        return t


def _in_order(tensor: Any, spot: Spot, dtype: str, lanes: int) -> list[Number]:
    """Return the numbers of a spot, a vector after the other."""
    width = min(spot.lanes, lanes)
    parts = [
        dataclasses.replace(spot, start=spot.start + first * spot.stride, lanes=width)
        for first in range(0, spot.lanes, width)
    ]
    return [Number(tir.cast(part.load(tensor), vector("int32", width))) for part in parts]


def _quad(tensor: Any, spot: Spot, dtype: str, lanes: int) -> list[Number]:
    """Return the numbers of a spot as a quad's four vectors (`interleave.channel_order`)."""
    if spot.stride == 0:
        number = tir.cast(tensor[spot.start], "int32")
        return [Number(tir.broadcast(number, lanes))] * QUAD
    stored, excess, size = spot.load(tensor), BEYOND, spot.lanes
    if dtype == "int8":
        stored = tir.bitwise_xor(stored, splat("int8", -128, size))
        excess += 128
    zero, exponent = splat("uint8", 0, size), splat("uint8", EXPONENT, size)
    bytes_ = tir.reinterpret(vector("uint8", size), stored)
    return [
        Number(tir.reinterpret(vector("float32", lanes), operand), excess)
        for operand in interleave([bytes_, zero, zero, exponent], lanes)
    ]
