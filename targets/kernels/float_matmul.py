"""A product of float matrices that are both computed, a batch of them."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from qcompile.targets.isa import Expr
from qcompile.targets.kernels.float_conv import FloatConv
from qcompile.targets.kernels.float_loops import Block
from qcompile.targets.kernels.view import View
from qcompile.targets.layout import Layout


@dataclasses.dataclass(frozen=True, kw_only=True)
class FloatMatMul(FloatConv):
    """`func(a, b, r, y)`: FloatConv whose weights are rows of b, others for each image.

    A matrix of `a` is an image of one line, a pixel for each row.

    Attributes:
        a: The left matrices [*batch of a, M, K], K with stride 1.
        b: The right matrices [*batch of b, K, N], N with stride 1.
        batch: The leading extents of the answer: of both, by NumPy's broadcasting.
    """

    a: View
    b: View
    batch: tuple[int, ...]

    @classmethod
    def of(
        cls, a: View, b: View, batch: tuple[int, ...], *, added: bool = False, **fields: Any
    ) -> FloatMatMul:
        """Return the product whose answer, and what is added to it, lie row by row."""
        (rows, depth), columns, count = a.shape[-2:], b.shape[-1], math.prod(batch)
        y = Layout(count, 1, rows, columns, columns)
        return cls(
            a=a,
            b=b,
            batch=batch,
            x=Layout(count, 1, rows, depth, a.strides[-2]),
            y=y,
            residual=y if added else None,
            bias=False,
            **fields,
        )

    def views(self) -> tuple[Layout, Layout, Layout | None]:
        """Return the layouts as they are: every image has its own weights."""
        return self.x, self.y, self.residual

    @property
    def heavy(self) -> bool:
        """Whether weights exceed the input; here every image brings its own."""
        return False

    @property
    def x_size(self) -> int:
        """Elements of the memory of a."""
        return self.a.layout.size

    @property
    def weight_size(self) -> int:
        """Elements of the memory of b."""
        return self.b.layout.size

    @property
    def weight_room(self) -> int:
        """Lanes of a row of b that may be read."""
        return self.room

    def source(self, n: Expr, h: Expr, w: Expr, c: Expr) -> Expr:
        """Return where an element of a lies."""
        return _matrix(self.a, self.batch).at(n) + w * self.a.strides[-2] + c

    def weight(self, n: Expr, g: Expr, block: Block, v: int, step: Expr) -> Expr:
        """Return where a part of a row of b lies."""
        return (
            _matrix(self.b, self.batch).at(n) + step * self.b.strides[-2] + block.channels[v]
        )


def _matrix(view: View, batch: tuple[int, ...]) -> View:
    """Return the first element of each matrix."""
    shape, strides = view.shape[:-2], view.strides[:-2]
    return dataclasses.replace(view, shape=shape, strides=strides).broadcast_to(batch)
