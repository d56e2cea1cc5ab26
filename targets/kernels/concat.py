"""Concat: several tensors behind one another along an axis."""

from __future__ import annotations

import dataclasses
from typing import Any

from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as tir

from qcompile.targets.kernels.copies import copy, elements
from qcompile.targets.kernels.halo import fill_halo
from qcompile.targets.kernels.view import View


@dataclasses.dataclass(frozen=True, kw_only=True)
class Concat:
    """`func(x0, x1, ..., y)`; all have one scale and zero point.

    Attributes:
        inputs: The parts, in order.
        y: The whole.
        axis: The logical axis, not negative.
        dtype: Of every tensor.
        zero_point: Of every tensor.
        lanes: 32-bit lanes of a vector.
        parallel: Whether threads share the work.
    """

    inputs: tuple[View, ...]
    y: View
    axis: int
    dtype: str
    zero_point: int
    lanes: int = 16
    parallel: bool = False

    def __post_init__(self) -> None:
        total = sum(view.shape[self.axis] for view in self.inputs)
        if total != self.y.shape[self.axis]:
            raise ValueError(f"parts of {total} do not fill {self.y.shape[self.axis]}")

    def func(self) -> Any:
        """Return the PrimFunc."""
        with IRBuilder() as builder, tir.prim_func(s_tir=True):
            tir.func_name("concat")
            tir.func_attr({"tirx.noalias": True})
            parts = [
                tir.arg(f"x{index}", tir.Buffer((view.layout.size,), self.dtype))
                for index, view in enumerate(self.inputs)
            ]
            y = tir.arg("y", tir.Buffer((self.y.layout.size,), self.dtype))
            starts = [0] * len(self.y.shape)
            for part, view in zip(parts, self.inputs, strict=True):
                copy(
                    part,
                    view,
                    y,
                    self.y.slice(starts, view.shape),
                    lanes=elements(self.lanes, self.dtype),
                    parallel=self.parallel,
                )
                starts[self.axis] += view.shape[self.axis]
            fill_halo(y, self.y.layout, self.dtype, self.zero_point)
        return builder.get()
