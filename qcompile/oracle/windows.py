"""Sliding windows, one position in the kernel at a time: shared by convolutions and pools."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

T = TypeVar("T", bound=np.generic)


@dataclasses.dataclass(frozen=True)
class Windows:
    """The geometry of a Conv or a pool: one entry a spatial axis.

    Attributes:
        kernel: Taps.
        strides: Steps from one output to the next.
        dilations: Steps from one tap to the next.
        pads: Padding (before, after).
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, node: ir.Node, kernel: Sequence[int]) -> Windows:
        """Read a node's attributes, with ONNX's defaults; the kernel's size is given."""
        rank = len(kernel)
        pads = node.attributes.get_ints("pads", [0] * (2 * rank))
        return cls(
            kernel=tuple(kernel),
            strides=tuple(node.attributes.get_ints("strides", [1] * rank)),
            dilations=tuple(node.attributes.get_ints("dilations", [1] * rank)),
            pads=tuple((pads[axis], pads[axis + rank]) for axis in range(rank)),
        )

    def counts(self, sizes: Sequence[int], *, ceil: bool = False) -> tuple[int, ...]:
        """Return the output's spatial shape for the input's.

        With `ceil` a last window may reach beyond the padding, but not start in it.
        """
        counts = []
        for axis, size in enumerate(sizes):
            before, after = self.pads[axis]
            room = size + before + after - self._span(axis)
            count = (
                -(-room // self.strides[axis]) if ceil else room // self.strides[axis]
            ) + 1
            if ceil and (count - 1) * self.strides[axis] >= size + before:
                count -= 1
            counts.append(count)
        return tuple(counts)

    def taps(
        self, x: npt.NDArray[T], fill: int, counts: Sequence[int]
    ) -> Iterator[tuple[tuple[int, ...], npt.NDArray[T]]]:
        """Yield each tap with what the whole output sees through it; pads count as `fill`."""
        around = [(0, 0), (0, 0)]
        for axis, count in enumerate(counts):
            before, after = self.pads[axis]
            reach = (count - 1) * self.strides[axis] + self._span(axis)
            around.append((before, max(after, reach - before - x.shape[2 + axis])))
        padded = x if max(map(max, around)) == 0 else np.pad(x, around, constant_values=fill)
        for tap in itertools.product(*map(range, self.kernel)):
            window = [slice(None), slice(None)]
            for axis, at in enumerate(tap):
                start, stride = at * self.dilations[axis], self.strides[axis]
                window.append(slice(start, start + (counts[axis] - 1) * stride + 1, stride))
            yield tap, padded[tuple(window)]

    def _span(self, axis: int) -> int:
        return (self.kernel[axis] - 1) * self.dilations[axis] + 1
