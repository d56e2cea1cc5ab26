"""Where the elements of a tensor lie in memory: channels last, padded, with a halo.

Every buffer of a lowered model is flat. A Layout is the only thing that knows how
(n, h, w, c) becomes an index, so a Reshape or Flatten that keeps the order costs nothing.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Halo:
    """Pixels stored around the image, which hold the tensor's zero point."""

    top: int = 0
    left: int = 0
    bottom: int = 0
    right: int = 0

    def union(self, other: Halo) -> Halo:
        """Return the smallest halo that covers both."""
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
        return Halo(*(max(pair) for pair in pairs))


@dataclasses.dataclass(frozen=True)
class Layout:
    """A tensor as n images of h x w pixels with c channels, of which c_pad are stored.

    A rank-4 tensor (N, C, H, W) is `spatial`; every other tensor is `rows`: one image of one
    line, a pixel for each row, the last axis as channels. Channels from c to c_pad hold
    anything and must never influence a real one. `image` tells the two apart where their sizes
    agree: axis 1 of the tensor holds the channels, not the last.
    """

    n: int
    h: int
    w: int
    c: int
    c_pad: int
    halo: Halo = Halo()
    image: bool = False

    @classmethod
    def spatial(cls, shape: Sequence[int], lanes: int = 1, halo: Halo | None = None) -> Layout:
        """Return the layout of a rank-4 tensor (N, C, H, W)."""
        n, c, h, w = shape
        return cls(n, h, w, c, round_up(c, lanes), halo or Halo(), image=True)

    @classmethod
    def rows(cls, shape: Sequence[int], lanes: int = 1) -> Layout:
        """Return the layout of a tensor whose last axis is the channels."""
        c = shape[-1] if shape else 1
        return cls(1, 1, math.prod(shape[:-1]), c, round_up(c, lanes))

    @property
    def stored_h(self) -> int:
        """Lines in memory, halo included."""
        return self.halo.top + self.h + self.halo.bottom

    @property
    def stored_w(self) -> int:
        """Pixels of a line in memory, halo included."""
        return self.halo.left + self.w + self.halo.right

    @property
    def flat(self) -> bool:
        """Whether the pixels of all lines and images follow each other."""
        return self.halo == Halo()

    @property
    def whole(self) -> Layout:
        """The layout of all the memory."""
        return self

    @property
    def run(self) -> int:
        """Channels of a pixel that follow each other."""
        return self.c_pad

    @property
    def size(self) -> int:
        """Elements in memory."""
        return self.n * self.stored_h * self.stored_w * self.c_pad

    def at(self, n: Any, h: Any, w: Any, c: Any) -> Any:
        """Return the flat index of an element; h and w may reach into the halo."""
        line = n * self.stored_h + h + self.halo.top
        return (line * self.stored_w + w + self.halo.left) * self.c_pad + c


def round_up(size: int, multiple: int) -> int:
    """Return the smallest multiple that is not below size."""
    return -(-size // multiple) * multiple
