"""Every operator of the domain `qcompile`: its function, and the attributes it must have."""

from __future__ import annotations

from collections.abc import Mapping

from qcompile.oracle import arithmetic, batch_matmul, dynamic, elementwise, reductions, resize
from qcompile.oracle.steps import Operator

OPERATORS: Mapping[str, Operator] = {
    **arithmetic.ARITHMETIC,
    **batch_matmul.ARITHMETIC,
    **dynamic.ARITHMETIC,
    **elementwise.ARITHMETIC,
    **reductions.ARITHMETIC,
    **resize.ARITHMETIC,
}
"""Operator -> its function of (node, input arrays)."""

REQUIRED: Mapping[str, tuple[str, ...]] = {
    **arithmetic.REQUIRED,
    **batch_matmul.REQUIRED,
    **dynamic.REQUIRED,
    **elementwise.REQUIRED,
    **reductions.REQUIRED,
    **resize.REQUIRED,
}
"""The attributes that have no default; the others default as in ONNX's Conv and Softmax."""
