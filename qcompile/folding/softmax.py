"""Softmax: exponentials as integers, so that their sum is exact."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from qcompile.folding.folding import Folding, UnfoldableError
from qcompile.folding.products import check_products
from qcompile.numerics import multiplier
from qcompile.ops import QSOFTMAX

SOFTMAX_BITS = 24
"""Exponentials are multiples of 2**-24 at the finest, so that float32 holds them exactly."""


def fold_softmax(folding: Folding) -> ir.Node:
    """Softmax becomes QSoftmax: a table of `exp(-s * d)` as multiples of 2**-k.

    k is the largest up to 24 for which the sum over the axis stays below 2**31.
    """
    x, grid = folding.source()
    axis, shape = folding.anchor.attributes.get_int("axis", -1), x.shape
    size = shape[axis] if shape is not None else None
    if folding.y is None:
        raise UnfoldableError("its output is not quantized")
    if not isinstance(size, int):
        raise UnfoldableError("the size of its axis is unknown")
    bits = next(k for k in range(SOFTMAX_BITS, -1, -1) if size * 2**k < 2**31)
    factor = multiplier(1.0, 1.0, folding.y_scale)
    check_products((factor, 1))
    exponentials = np.rint(np.exp(-grid.scale * np.arange(256.0)) * 2.0**bits)
    return folding.node(
        QSOFTMAX,
        [
            x,
            ("table", exponentials.astype(np.int32)),
            ("multiplier", factor),
        ],
        {"axis": axis, **folding.last_step()},
    )
