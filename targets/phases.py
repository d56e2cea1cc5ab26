"""Where a convolution's channels lie that become the pixels of a larger image."""

from __future__ import annotations

import dataclasses
from typing import Any

from qcompile.targets.kernels.view import View
from qcompile.targets.layout import Layout


@dataclasses.dataclass(frozen=True, kw_only=True)
class Phases(Layout):
    """n images of h x w pixels; each pixel's channels are `down` x `right` pixels of `larger`.

    Stored as images, the channels of one line of these pixels follow each other, padding
    included: channel c is (line, pixel, channel of `larger`). Stored as planes, it is
    (plane, line, pixel).

    Attributes:
        larger: The image (N, C, h * down, w * right), as images or as planes without padding.
        down: Lines that a pixel becomes.
        right: Pixels of a line that it becomes.
    """

    larger: View
    down: int
    right: int

    @classmethod
    def of(cls, larger: View, down: int, right: int) -> Phases:
        """Return the layout of what becomes a larger image."""
        n, channels, h, w = larger.shape
        if larger.layout.image:
            channels = larger.layout.c_pad
        c = down * right * channels
        return cls(
            n, h // down, w // right, c, c, image=True, larger=larger, down=down, right=right
        )

    @property
    def flat(self) -> bool:
        """Never: lines are apart."""
        return False

    @property
    def whole(self) -> Layout:
        """The larger image's."""
        return self.larger.layout

    @property
    def size(self) -> int:
        """Elements in memory."""
        return self.whole.size

    @property
    def run(self) -> int:
        """Channels that follow each other."""
        return self.right * self.whole.c_pad if self.whole.image else self.right

    def at(self, n: Any, h: Any, w: Any, c: Any) -> Any:
        """Return the flat index of an element."""
        per_n, per_c, per_line, per_pixel = self.larger.strides
        outer = c // self.run
        line = h * self.down + (outer if self.whole.image else outer % self.down)
        plane = 0 if self.whole.image else outer // self.down * per_c
        start = self.larger.offset + n * per_n + line * per_line + plane
        return start + w * self.right * per_pixel + c % self.run

    def split(self) -> View:
        """Return the elements as (N, C, down, right, h, w)."""
        n, channels, h, w = self.larger.shape
        per_n, per_c, per_line, per_pixel = self.larger.strides
        return dataclasses.replace(
            self.larger,
            shape=(n, channels, self.down, self.right, h // self.down, w // self.right),
            strides=(
                per_n,
                per_c,
                per_line,
                per_pixel,
                self.down * per_line,
                self.right * per_pixel,
            ),
        )

    def order(self) -> list[tuple[int, int, int] | None]:
        """Return (channel of `larger`, line, pixel) of every channel; None for padding."""
        channels, lines, pixels = self.larger.shape[1], range(self.down), range(self.right)
        if not self.whole.image:
            return [(o, i, j) for o in range(channels) for i in lines for j in pixels]
        stored = [o if o < channels else None for o in range(self.whole.c_pad)]
        return [
            None if o is None else (o, i, j) for i in lines for j in pixels for o in stored
        ]
