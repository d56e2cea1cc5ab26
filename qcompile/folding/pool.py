"""AveragePool and GlobalAveragePool."""

from __future__ import annotations

import math

import onnx_ir as ir

from qcompile.folding.folding import Folding, UnfoldableError
from qcompile.folding.pooling import average_windows
from qcompile.folding.products import LARGEST_STEPS, check_products
from qcompile.numerics import F32, multiplier
from qcompile.ops import QAVERAGEPOOL


def fold_pool(folding: Folding) -> ir.Node:
    """AveragePool and GlobalAveragePool become QAveragePool; counts go to the multiplier."""
    x, grid = folding.source()
    windows = average_windows(folding.anchor)
    if windows is None:
        raise UnfoldableError("its windows are not those of an image, or one lies beyond it")
    counts = windows.counts
    if (counts == counts[0, 0]).all():
        counts = counts[:1, :1]
    factor: F32 = multiplier(grid.scale, 1.0, folding.y_scale * counts)
    check_products((factor, LARGEST_STEPS * math.prod(windows.kernel)))
    return folding.node(
        QAVERAGEPOOL,
        [x, ("multiplier", factor)],
        {
            "kernel_shape": windows.kernel,
            "strides": windows.strides,
            "pads": windows.pads,
            "dilations": windows.dilations,
            "x_zero_point": grid.zero_point,
            **folding.last_step(),
        },
    )
