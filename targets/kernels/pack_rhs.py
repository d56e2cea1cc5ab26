"""Bring the right side of a matrix product into the order of a dense kernel's weights."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr, Isa
from qcompile.targets.kernels import edges
from qcompile.targets.kernels.blocks import Registers, gather, part
from qcompile.targets.kernels.epilogue import span
from qcompile.targets.kernels.view import View
from qcompile.targets.layout import round_up

MIDDLE = 128
"""Between uint8 and the int8 of the same bits but the highest."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PackRhs:
    """`func(b, a_zero_point[1], b_zero_point[1], w, bias)`, zero points as int32.

    w holds b as int8, for every matrix [N/lanes][K/k_group][lanes][k_group], where `width`
    vectors of columns take turns; uint8 becomes int8 by less 128. Rows beyond K are 0.
    With b' and its zero point z' so shifted, and the sum over K,

        bias[n] = a_zero_point * (K * z' - sum(b'[:, n]))

    Attributes:
        b: The matrices [..., K, N]; K or N has stride 1.
        dtype: Of b.
        isa: The instruction set.
        width: Vectors of a block of columns.
        parallel: Whether threads share the work.
    """

    b: View
    dtype: str
    isa: Isa
    width: int
    parallel: bool = False

    def __post_init__(self) -> None:
        if 1 not in self.b.strides[-2:]:
            raise ValueError(f"neither rows nor columns lie together: {self.b.strides}")

    @property
    def shift(self) -> int:
        """What is taken from every number of b."""
        return MIDDLE if self.dtype == "uint8" else 0

    @property
    def entries(self) -> int:
        """Matrices."""
        return math.prod(self.b.shape[:-2])

    @property
    def vectors(self) -> int:
        """Vectors of columns."""
        return -(-self.b.shape[-1] // self.isa.lanes)

    @property
    def vector_weights(self) -> int:
        """Weights of one vector of columns."""
        return round_up(self.b.shape[-2], self.isa.k_group) * self.isa.lanes

    @property
    def sizes(self) -> tuple[int, int]:
        """Elements of w and of the bias."""
        vectors = self.entries * self.vectors
        return vectors * self.vector_weights, vectors * self.isa.lanes

    def func(self) -> Any:
        """Return the PrimFunc."""
        with IRBuilder() as builder, tir.prim_func(s_tir=True):
            tir.func_name("pack_rhs")
            tir.func_attr({"tirx.noalias": True})
            buffers = _Buffers(
                b=tir.arg("b", tir.Buffer((self.b.layout.size,), self.dtype)),
                a_zero_point=tir.arg("a_zero_point", tir.Buffer((1,), "int32")),
                b_zero_point=tir.arg("b_zero_point", tir.Buffer((1,), "int32")),
                w=tir.arg("w", tir.Buffer((self.sizes[0],), "int8")),
                bias=tir.arg("bias", tir.Buffer((self.sizes[1],), "int32")),
            )
            self._emit(buffers)
        return builder.get()

    def _emit(self, buffers: _Buffers) -> None:
        """Emit the blocks of every matrix; the last is by itself where it is not whole."""
        shared = self.parallel and self.entries > 1
        whole = self.b.shape[-1] // (self.isa.lanes * self.width)
        with (tir.parallel if shared else tir.serial)(self.entries) as entry:
            if whole:
                inner = tir.parallel if self.parallel and not shared else tir.serial
                with inner(whole) as block:
                    self._block(buffers, entry, block * self.width, self.width)
            if whole * self.width < self.vectors:
                first = whole * self.width
                self._block(buffers, entry, first, self.vectors - first)

    def _block(self, buffers: _Buffers, entry: Expr, first: Expr, vectors: int) -> None:
        """Emit one block of columns, and the sums of each."""
        isa = self.isa
        sums = Registers(vectors * isa.rows, isa.lanes)
        for i in range(vectors * isa.rows):
            sums[i] = tir.broadcast(tir.int32(0), isa.lanes)
        full, rest = divmod(self.b.shape[-2], isa.k_group)
        start = (entry * self.vectors + first) * self.vector_weights
        size = isa.lanes * isa.k_group

        def step(s: Expr, count: int) -> None:
            for v in range(vectors):
                weights = self._weights(buffers.b, entry, s, count, first + v)
                place = span(start + (s * vectors + v) * size, size)
                tir.buffer_store(buffers.w, weights, [place])
                self._add(sums, v, weights)

        if full:
            with tir.serial(full) as s:
                step(s, isa.k_group)
        if rest:
            step(full, rest)
        a_zero_point = tir.broadcast(buffers.a_zero_point[0], isa.lanes)
        own = (buffers.b_zero_point[0] - self.shift) * self.b.shape[-2]
        for v in range(vectors):
            total = gather([sums[v * isa.rows + i] for i in range(isa.rows)], 0, isa)
            bias = a_zero_point * (tir.broadcast(own, isa.lanes) - total)
            place = (entry * self.vectors + first + v) * isa.lanes
            tir.buffer_store(buffers.bias, bias, [span(place, isa.lanes)])

    def _weights(self, b: Any, entry: Expr, s: Expr, count: int, vector: Expr) -> Expr:
        """Return int8[lanes * k_group]: `count` rows of a step, the others 0."""
        isa = self.isa
        matrix = dataclasses.replace(
            self.b, shape=self.b.shape[:-2], strides=self.b.strides[:-2]
        )
        row_stride, column_stride = self.b.strides[-2:]
        column = vector * isa.lanes
        begin = matrix.at(entry) + s * isa.k_group * row_stride + column * column_stride
        if column_stride == 1:
            rows = [
                self._row(b, begin + i * row_stride, self._room(vector)) for i in range(count)
            ]
            starts = range(0, isa.k_group * isa.lanes, isa.lanes)
            rows += [tir.broadcast(tir.int8(0), isa.lanes)] * (isa.k_group - count)
            turns = [row + lane for lane in range(isa.lanes) for row in starts]
            return tir.Shuffle(rows, turns) if isa.k_group > 1 else rows[0]
        groups = [
            self._group(b, begin + min(lane, self._room(vector) - 1) * column_stride, count)
            for lane in range(isa.lanes)
        ]
        together = tir.Shuffle(groups, list(range(isa.lanes)))
        return tir.reinterpret(f"int8x{isa.lanes * isa.k_group}", together)

    def _row(self, b: Any, start: Expr, room: int) -> Expr:
        """Return a row of `lanes` columns, of which `room` are there."""
        lanes = self.isa.lanes
        row = edges.load(b, start, lanes, room, self.dtype)
        return self._signed(tir.reinterpret(f"int8x{lanes}", row), lanes)

    def _group(self, b: Any, start: Expr, count: int) -> Expr:
        """Return `k_group` rows of one column, `count` of them there, as one integer."""
        k_group = self.isa.k_group
        if k_group == 1:
            return self._signed(tir.reinterpret("int8", b[start]), 1)
        if count == k_group:
            bytes_ = tir.reinterpret(f"int8x{k_group}", b[span(start, k_group)])
            return tir.reinterpret(f"int{8 * k_group}", self._signed(bytes_, k_group))
        kind: Any = getattr(tir, f"int{8 * k_group}")
        group = kind(0)
        for i in range(count):
            byte = tir.cast(b[start + i], f"int{8 * k_group}") - self.shift
            group = tir.bitwise_or(group, tir.shift_left(byte & kind(255), kind(8 * i)))
        return group

    def _signed(self, row: Expr, lanes: int) -> Expr:
        """Return stored numbers, as int8 of the same bits, less the shift."""
        if not self.shift:
            return row
        flip: Any = tir.int8(-MIDDLE)
        return tir.bitwise_xor(row, flip if lanes == 1 else tir.broadcast(flip, lanes))

    def _room(self, vector: Expr) -> int:
        """Return how many columns of a vector are there, or may be read like them."""
        lanes = self.isa.lanes
        if not isinstance(vector, int):
            return lanes
        here = min(lanes, self.b.shape[-1] - vector * lanes)
        last = self.b.offset + sum(
            (extent - 1) * stride for extent, stride in self.b.axes[:-1]
        )
        inside = last + self.vectors * lanes <= self.b.layout.size
        return lanes if inside and self.b.strides[-1] == 1 else here

    def _add(self, sums: Registers, v: int, weights: Expr) -> None:
        """Add the rows of a step to the sums of a vector of columns."""
        isa = self.isa
        if isa.k_group == 1:
            sums[v] = sums[v] + tir.cast(weights, f"int32x{isa.lanes}")
            return
        size = isa.lanes * isa.k_group // isa.rows
        ones = tir.broadcast(tir.int8(1), size)
        for i in range(isa.rows):
            place = v * isa.rows + i
            sums[place] = isa.dot(sums[place], ones, part(weights, i, size))


@dataclasses.dataclass(frozen=True)
class _Buffers:
    """The arguments of the kernel."""

    b: Any
    a_zero_point: Any
    b_zero_point: Any
    w: Any
    bias: Any
