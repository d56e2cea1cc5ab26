"""How fast a machine can be at most: its dot instruction, its fma, and copies of some sizes.

Kernels of nothing but dots or fmas on registers, and of nothing but loads and stores, are
built as any other and timed where the model runs. So the figures are of the same machine, the
same hour and the same threads as those that are compared with them.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import onnx_ir as ir
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as tir

from qcompile.measuring import Measure
from qcompile.peaks import Peaks
from qcompile.targets.isa import Isa
from qcompile.targets.kernels.blocks import Registers
from qcompile.targets.trials import Trial, build_trials

PIECES = 16
"""Pieces of the work, for threads to share."""

STEPS = 2048
"""Rounds of dots of a piece: all of them take some hundred microseconds."""

COPIES = (1 << 16, 1 << 19, 1 << 22)
"""Bytes that are copied: first-level, second-level cache and memory."""

RUNS = 30

OPERANDS = 2
"""Registers of activations that the dots take turns with."""


@dataclasses.dataclass(frozen=True)
class DotPeak:
    """Dots on registers: each round one new operand of weights, for every accumulator.

    Buffers: a, w, y int32[PIECES * lanes].
    """

    isa: Isa

    @property
    def sums(self) -> int:
        """Independent accumulators: as many as a tile may have."""
        return self.isa.registers - self.isa.spare - OPERANDS - 2

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one run."""
        dots = PIECES * STEPS * self.sums
        return dots * self.isa.lanes * self.isa.k_group

    def func(self) -> Any:
        """Return the PrimFunc."""
        isa = self.isa
        register = isa.lanes // isa.rows * isa.k_group
        group = isa.k_group * isa.rows
        with IRBuilder() as builder, tir.prim_func():
            tir.func_name("main")
            a = tir.arg("a", tir.Buffer((OPERANDS * group,), isa.activation))
            w = tir.arg("w", tir.Buffer((16 * register,), "int8"))
            y = tir.arg("y", tir.Buffer((PIECES * isa.lanes,), "int32"))
            tir.func_attr({"tirx.noalias": True})
            with tir.parallel(PIECES) as piece:
                acc = Registers(self.sums, isa.lanes)
                for each in range(self.sums):
                    acc[each] = tir.broadcast(tir.int32(each), isa.lanes)
                with tir.serial(STEPS) as step:
                    weights = isa.weights(w, step % 16 * register, 0, 1)
                    for each in range(self.sums):
                        first = each % OPERANDS * group
                        pixels = [first + row * isa.k_group for row in range(isa.rows)]
                        taken = isa.activations(a, pixels, 0, 1)
                        acc[each] = isa.dot(acc[each], taken, weights)
                total = acc[0]
                for each in range(1, self.sums):
                    total = total + acc[each]
                tir.buffer_store(y, total, [tir.ramp(piece * isa.lanes, 1, isa.lanes)])
        return builder.get()


@dataclasses.dataclass(frozen=True)
class FmaPeak:
    """Fused multiply-adds of floats on registers: each round one new operand for every sum.

    Buffers: x, w, y float32[PIECES * lanes] each.
    """

    isa: Isa

    @property
    def sums(self) -> int:
        """Independent accumulators."""
        return self.isa.registers - 4

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one run."""
        return PIECES * STEPS * self.sums * self.isa.lanes

    def func(self) -> Any:
        """Return the PrimFunc."""
        lanes, size = self.isa.lanes, PIECES * self.isa.lanes
        with IRBuilder() as builder, tir.prim_func():
            tir.func_name("main")
            x, w, y = (tir.arg(name, tir.Buffer((size,), "float32")) for name in "xwy")
            tir.func_attr({"tirx.noalias": True})
            with tir.parallel(PIECES) as piece:
                acc = Registers(self.sums, lanes, "float32")
                for each in range(self.sums):
                    acc[each] = tir.broadcast(tir.float32(each), lanes)
                number = x[tir.ramp(piece * lanes, 1, lanes)]
                with tir.serial(STEPS) as step:
                    weight = w[tir.ramp(step % PIECES * lanes, 1, lanes)]
                    for each in range(self.sums):
                        acc[each] = tir.fma(number, weight, acc[each])
                total = acc[0]
                for each in range(1, self.sums):
                    total = total + acc[each]
                tir.buffer_store(y, total, [tir.ramp(piece * lanes, 1, lanes)])
        return builder.get()


@dataclasses.dataclass(frozen=True)
class CopyPeak:
    """A copy of so many bytes, by one thread or by all. Buffers: x uint8, y uint8."""

    size: int
    lanes: int
    parallel: bool

    def func(self) -> Any:
        """Return the PrimFunc."""
        width = 4 * self.lanes
        per_piece = self.size // PIECES // width
        with IRBuilder() as builder, tir.prim_func():
            tir.func_name("main")
            x = tir.arg("x", tir.Buffer((self.size,), "uint8"))
            y = tir.arg("y", tir.Buffer((self.size,), "uint8"))
            tir.func_attr({"tirx.noalias": True})
            pieces = tir.parallel if self.parallel else tir.serial
            with pieces(PIECES) as piece, tir.serial(per_piece) as step:
                at = (piece * per_piece + step) * width
                value = x.vload([at], f"uint8x{width}")
                tir.buffer_store(y, value, [tir.ramp(at, 1, width)])
        return builder.get()


def measure_peaks(isa: Isa, measure: Measure) -> Peaks:
    """Return the peaks of the machine on which `measure` runs a library: its fastest runs."""
    random = np.random.default_rng(0)
    dots = DotPeak(isa)
    operands = [
        random.integers(0, 100, OPERANDS * isa.k_group * isa.rows).astype(isa.activation),
        random.integers(-100, 100, 16 * isa.lanes // isa.rows * isa.k_group).astype(np.int8),
    ]
    product = Trial(dots, operands, PIECES * isa.lanes, ir.DataType.INT32)
    fmas, size = FmaPeak(isa), PIECES * isa.lanes
    numbers = [random.random(size, np.float32) for _ in range(2)]
    real = Trial(fmas, numbers, size, ir.DataType.FLOAT)
    memory = random.integers(0, 256, COPIES[-1]).astype(np.uint8)
    copies = [
        Trial(CopyPeak(size, isa.lanes, parallel), [memory[:size]], size, ir.DataType.UINT8)
        for size in COPIES
        for parallel in (False, True)
    ]
    # Twice each: the first time brings what it reads into the cache.
    trials = [
        product,
        product,
        real,
        real,
        *(each for copy in copies for each in (copy, copy)),
    ]
    seconds = measure(*build_trials(isa, trials), RUNS).min(axis=0)[1::2]
    fastest = seconds[2:].reshape(len(COPIES), 2).min(axis=1)
    return Peaks(
        macs_per_second=dots.macs / float(seconds[0]),
        float_macs_per_second=fmas.macs / float(seconds[1]),
        copies=tuple(
            (2 * size, 2 * size / spent)
            for size, spent in zip(COPIES, fastest.tolist(), strict=True)
        ),
    )
