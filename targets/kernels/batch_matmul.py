"""QBatchMatMul: the dense kernel, with other weights for every matrix of the batch."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from qcompile.targets.isa import Expr
from qcompile.targets.kernels.dense_conv import DenseConv
from qcompile.targets.kernels.view import View
from qcompile.targets.layout import Layout
from qcompile.targets.tiles import Work


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchMatMul(DenseConv):
    """Matrices times matrices: a matrix of `a` is an image of one line, a pixel for each row.

    Buffers: those of DenseConv, with w and bias of every matrix of `b` from a PackRhs, and,
    before y, the rows of a RowSums where `b` has a zero point of its own.

    Attributes:
        a: The left matrices [*batch of a, M, K], K with stride 1.
        b_batch: The leading extents of the right matrices.
        batch: The leading extents of the answer: of both, by NumPy's broadcasting.
        centred: Whether the zero point of b is the middle, so that rows have no sums.
    """

    a: View
    b_batch: tuple[int, ...] = ()
    batch: tuple[int, ...] = ()
    centred: bool = False

    @classmethod
    def layouts(cls, a: View, batch: tuple[int, ...], y: Layout) -> dict[str, Any]:
        """Return the fields a, batch, x and y: the matrices as images of one line.

        Args:
            a: The left matrices.
            batch: The leading extents of the answer.
            y: The answer as rows.
        """
        rows, depth = a.shape[-2:]
        count = math.prod(batch)
        return {
            "a": a,
            "batch": batch,
            "x": Layout(count, 1, rows, depth, a.strides[-2]),
            "y": dataclasses.replace(y, n=count, w=rows),
        }

    def views(self) -> tuple[Layout, Layout, Layout | None]:
        """Return the layouts as they are: every image has its own weights."""
        return self.x, self.y, None

    def work(self) -> Work:
        """Return what the cost model needs to know; every line brings its own weights."""
        work = super().work()
        depth = work.k_steps[0] * self.isa.k_group
        return dataclasses.replace(work, line_bytes=depth * (self.y.w + self.y.c))

    @property
    def x_size(self) -> int:
        """Elements of the memory of a."""
        return self.a.layout.size

    @property
    def entries(self) -> int:
        """Matrices of b."""
        return math.prod(self.b_batch)

    @property
    def row_sums(self) -> int:
        """Rows of a."""
        return 0 if self.centred else math.prod(self.a.shape[:-1])

    def source(self, n: Expr, h: Expr, w: Expr, c: Expr) -> Expr:
        """Return where an element of a lies."""
        shape, strides = self.a.shape[:-2], self.a.strides[:-2]
        matrices = dataclasses.replace(self.a, shape=shape, strides=strides)
        return matrices.broadcast_to(self.batch).at(n) + w * self.a.strides[-2] + c

    def entry(self, n: Expr) -> Expr:
        """Return which matrix of b belongs to an image."""
        return View.plain((*self.b_batch, 1)).broadcast_to((*self.batch, 1)).at(n)

    def row(self, n: Expr, w: Expr) -> Expr:
        """Return the number of a row of a."""
        shape = (*self.a.shape[:-2], 1)
        matrix = View.plain(shape).broadcast_to((*self.batch, 1)).at(n)
        return matrix * self.a.shape[-2] + w
