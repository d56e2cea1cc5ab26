"""How many numbers each window of an average pool averages."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import onnx_ir as ir


@dataclasses.dataclass(frozen=True)
class Windows:
    """The windows of a pool over an image, without ceil_mode: pads say all.

    Attributes:
        kernel: Height and width.
        strides: Of the rows and the columns.
        pads: Top, left, bottom, right; at the end as far as the last window reaches.
        dilations: Of the rows and the columns.
        counts: float64 (OH, OW): what each window's sum is divided by.
    """

    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int, int, int]
    dilations: tuple[int, int]
    counts: npt.NDArray[np.float64]


def average_windows(node: ir.Node) -> Windows | None:
    """Return the windows of an AveragePool or GlobalAveragePool of images.

    None where shapes are unknown, auto_pad has not been resolved into pads, or a window
    begins behind the image (under ceil_mode shape inference counts it, runtimes do not).
    """
    x, y = (value.shape for value in (node.inputs[0], node.outputs[0]) if value is not None)
    if x is None or y is None or len(x) != 4 or not (x.is_static() and y.is_static()):
        return None
    (_, _, height, width), (_, _, rows, columns) = x.numpy(), y.numpy()
    if node.op_type == "GlobalAveragePool":
        counts = np.full((1, 1), float(height * width))
        return Windows((height, width), (1, 1), (0, 0, 0, 0), (1, 1), counts)
    if node.attributes.get_string("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return None
    kernel = node.attributes.get_ints("kernel_shape")
    strides = node.attributes.get_ints("strides", (1, 1))
    dilations = node.attributes.get_ints("dilations", (1, 1))
    pads = node.attributes.get_ints("pads", (0, 0, 0, 0))
    with_pads = bool(node.attributes.get_int("count_include_pad", 0))
    sides, ends = [], []
    for axis, (size, positions) in enumerate(((height, rows), (width, columns))):
        begin, end = pads[axis], pads[axis + 2]
        first = np.arange(positions)[:, None] * strides[axis] - begin
        reached = first + np.arange(kernel[axis]) * dilations[axis]
        if first.max() >= size:
            return None
        low, high = (-begin, size + end) if with_pads else (0, size)
        sides.append(((reached >= low) & (reached < high)).sum(axis=1).astype(np.float64))
        ends.append(max(end, int(reached.max()) - size + 1))
    counts = np.outer(*sides)
    if not counts.all():
        return None
    return Windows(
        (kernel[0], kernel[1]),
        (strides[0], strides[1]),
        (pads[0], pads[1], ends[0], ends[1]),
        (dilations[0], dilations[1]),
        counts,
    )
