"""The kernel of a transposed convolution as that of a convolution with one output a phase."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]


def taps(kernel: int, dilation: int, stride: int, room: int = 0) -> int:
    """Return how many taps a phase has: ceil((span of the kernel + room) / stride).

    `room` are steps of output behind the kernel's last, which stay zero.
    """
    return -(-((kernel - 1) * dilation + 1 + max(room, 0)) // stride)


def phase_kernel(
    weight: Array,
    *,
    group: int,
    strides: Sequence[int],
    dilations: Sequence[int],
    sizes: Sequence[int],
    fill: npt.ArrayLike = 0,
) -> Array:
    """Return the convolution's weight, (O * prod(strides), C / group, *sizes).

    W'[(o, r), c, u] = W[c, o, r + stride * (T - 1 - u)], T = sizes, 0 beyond the kernel

    for every spatial axis, with the phases r of one output channel o side by side.

    Args:
        weight: (C, O / group, *kernel).
        group: Groups of channels.
        strides: One a spatial axis.
        dilations: One a spatial axis.
        sizes: Taps a phase, one a spatial axis.
        fill: What stands for 0: one number, or one an output channel of a group.
    """
    channels, per_group, *kernel = weight.shape
    rank = len(kernel)
    zero = np.asarray(fill, weight.dtype).reshape(-1, *(1,) * rank)
    padded = [stride * size for stride, size in zip(strides, sizes, strict=True)]
    spread = np.broadcast_to(zero, (channels, per_group, *padded)).copy()
    places = tuple(
        slice(0, (size - 1) * step + 1, step)
        for size, step in zip(kernel, dilations, strict=True)
    )
    spread[(slice(None), slice(None), *places)] = weight
    split = [n for pair in zip(sizes, strides, strict=True) for n in pair]
    parts = spread.reshape(group, channels // group, per_group, *split)
    times = [3 + 2 * axis for axis in range(rank)]
    phases = [axis + 1 for axis in times]
    turned = np.flip(parts.transpose(0, 2, *phases, 1, *times), tuple(range(-rank, 0)))
    outputs = group * per_group * math.prod(strides)
    return np.ascontiguousarray(turned.reshape(outputs, channels // group, *sizes))
