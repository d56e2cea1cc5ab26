"""Sums, maxima and minima over axes: QReduceSum, and ReduceMax and ReduceMin on integers."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr
from qcompile.targets.kernels.epilogue import Epilogue, span, splat, vector
from qcompile.targets.kernels.halo import fill_halo
from qcompile.targets.kernels.strided import GATHERED, Spot, for_each
from qcompile.targets.kernels.view import Axis, View

WIDE = 4
"""Vectors that are reduced together."""

SHORT = 8
"""A contiguous axis shorter than this is not worth vectors along it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reduce(abc.ABC):
    """`func(x, ..., y)`: all elements along some axes of x become one of y.

    Where a contiguous axis of x is among them, vectors run along it and are folded at the
    end; otherwise every lane is an element of y.

    Attributes:
        x: What is reduced.
        axes: Which axes of x, none negative.
        y: The answer, without these axes.
        x_dtype: "uint8" or "int8".
        lanes: 32-bit lanes of a vector.
        parallel: Whether threads share the work.
    """

    x: View
    axes: tuple[int, ...]
    y: View
    x_dtype: str
    lanes: int = 16
    parallel: bool = False

    name: ClassVar[str]

    @property
    @abc.abstractmethod
    def wide_dtype(self) -> str:
        """What is accumulated."""

    @property
    @abc.abstractmethod
    def y_dtype(self) -> str:
        """What is stored."""

    @property
    @abc.abstractmethod
    def y_zero_point(self) -> int:
        """What fills the halo of y."""

    @property
    @abc.abstractmethod
    def start(self) -> int:
        """What is accumulated of nothing."""

    @abc.abstractmethod
    def join(self, left: Expr, right: Expr) -> Expr:
        """Return what is accumulated of two vectors of `wide_dtype`."""

    @abc.abstractmethod
    def result(self, acc: Expr, constants: Sequence[Any], lanes: int) -> Expr:
        """Return the stored vector."""

    def constants(self) -> tuple[Any, ...]:
        """Declare the parameters between x and y."""
        return ()

    def func(self) -> Any:
        """Return the PrimFunc."""
        kept, reduced = self.x.without(self.axes), self.reduced
        along = bool(reduced) and reduced[-1][1] == 1 and reduced[-1][0] >= SHORT
        with IRBuilder() as builder, tir.prim_func(s_tir=True):
            tir.func_name(self.name)
            tir.func_attr({"tirx.noalias": True})
            x = tir.arg("x", tir.Buffer((self.x.layout.size,), self.x_dtype))
            constants = self.constants()
            y = tir.arg("y", tir.Buffer((self.y.layout.size,), self.y_dtype))

            def step(x_spot: Spot, y_spot: Spot) -> None:
                folded = self._along(x, x_spot) if along else self._across(x, x_spot)
                y_spot.store(y, self.result(folded, constants, y_spot.lanes))

            for_each(
                (kept, self.y),
                step,
                lanes=1 if along else WIDE * self.lanes,
                gather=1 if along else GATHERED,
                parallel=self.parallel,
            )
            fill_halo(y, self.y.layout, self.y_dtype, self.y_zero_point)
        return builder.get()

    @property
    def reduced(self) -> list[Axis]:
        """The axes that are reduced, the contiguous one last, as few as possible."""
        axes = [self.x.axes[axis] for axis in self.axes if self.x.shape[axis] > 1]
        merged: list[Axis] = []
        for extent, stride in sorted(axes, key=lambda axis: -abs(axis[1])):
            if merged and merged[-1][1] == extent * stride:
                extent *= merged.pop()[0]
            merged.append((extent, stride))
        return merged

    @property
    def count(self) -> int:
        """How many elements become one."""
        return math.prod(extent for extent, _ in self.reduced)

    def _across(self, x: Any, spot: Spot) -> Expr:
        """Reduce a vector of neighbours, one element of y a lane."""
        acc = self._accumulator(spot.lanes)
        with contextlib.ExitStack() as loops:
            place = _loops(loops, self.reduced, spot.start)
            self._add(acc, dataclasses.replace(spot, start=place).load(x), spot.lanes)
        return acc[span(0, spot.lanes)]

    def _along(self, x: Any, spot: Spot) -> Expr:
        """Reduce neighbours into the lanes of vectors, and the lanes into one element.

        What is left of a row behind the widest vectors is taken in narrower ones.
        """
        *outer, (extent, _) = self.reduced
        width = min(WIDE * self.lanes, 1 << (extent.bit_length() - 1))
        acc = self._accumulator(width)
        with contextlib.ExitStack() as loops:
            row = _loops(loops, outer, spot.start)
            with tir.serial(extent // width) as index:
                self._add(acc, x[span(row + index * width, width)], width)
            done = extent // width * width
            while done < extent:
                part = 1 << ((extent - done).bit_length() - 1)
                self._add(acc, x[span(row + done, part)], part)
                done += part
        while width > 1:
            width //= 2
            halves = self.join(acc[span(0, width)], acc[span(width, width)])
            tir.buffer_store(acc, halves, [span(0, width)])
        return acc[0]

    def _accumulator(self, width: int) -> Any:
        acc = tir.alloc_buffer((width,), self.wide_dtype, scope="global")
        tir.buffer_store(acc, splat(self.wide_dtype, self.start, width), [span(0, width)])
        return acc

    def _add(self, acc: Any, stored: Expr, width: int) -> None:
        every = span(0, width)
        wide = tir.cast(stored, vector(self.wide_dtype, width))
        tir.buffer_store(acc, self.join(acc[every], wide), [every])


def _loops(loops: contextlib.ExitStack, axes: Sequence[Axis], start: Expr) -> Expr:
    for extent, stride in axes:
        start = start + loops.enter_context(tir.serial(extent)) * stride
    return start


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReduceSum(Reduce):
    """`func(x, multiplier[1], y)`: acc = sum(x - x_zero_point), exact in int32.

    Attributes:
        x_zero_point: Of x.
        epilogue: From the sum to y.
    """

    x_zero_point: int
    epilogue: Epilogue

    name = "reduce_sum"
    wide_dtype = "int32"
    start = 0

    @property
    def y_dtype(self) -> str:
        """What is stored."""
        return self.epilogue.dtype

    @property
    def y_zero_point(self) -> int:
        """What fills the halo of y."""
        return self.epilogue.zero_point

    def constants(self) -> tuple[Any, ...]:
        """Declare the multiplier."""
        return (tir.arg("multiplier", tir.Buffer((1,), "float32")),)

    def join(self, left: Expr, right: Expr) -> Expr:
        """Return the sum."""
        return left + right

    def result(self, acc: Expr, constants: Sequence[Any], lanes: int) -> Expr:
        """Take the zero points off and finish."""
        acc = acc - splat("int32", self.count * self.x_zero_point, lanes)
        factor = Spot(0, 0, lanes).load(constants[0])
        return self.epilogue.finish(acc, factor, lanes=lanes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReduceExtreme(Reduce):
    """`func(x, y)`: the largest or the smallest.

    Attributes:
        largest: Which of the two.
        zero_point: Of both; fills the halo of y.
    """

    largest: bool
    zero_point: int = 0

    name = "reduce_extreme"

    @property
    def wide_dtype(self) -> str:
        """The type of x: nothing grows."""
        return self.x_dtype

    @property
    def y_dtype(self) -> str:
        """The type of x."""
        return self.x_dtype

    @property
    def y_zero_point(self) -> int:
        """What fills the halo of y."""
        return self.zero_point

    @property
    def start(self) -> int:
        """The number that never wins."""
        limits = np.iinfo(self.x_dtype)
        return int(limits.min if self.largest else limits.max)

    def join(self, left: Expr, right: Expr) -> Expr:
        """Return the larger or the smaller."""
        return tir.max(left, right) if self.largest else tir.min(left, right)

    def result(self, acc: Expr, constants: Sequence[Any], lanes: int) -> Expr:
        """Return it as it is."""
        return acc
