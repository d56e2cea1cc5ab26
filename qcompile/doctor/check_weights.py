"""Check the integers of the weights themselves."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from qcompile.doctor.finding import Finding, Severity, where
from qcompile.doctor.graph import WeightedStep, weighted_steps
from qcompile.quant import INTEGER_RANGES

MIDDLES = {"int8": 0, "uint8": 128}
AT_AN_END = 2
"""Weights of a channel that a scale of its largest number puts at the ends: one at each."""

CLIPPED_SHARE, CLIPPED_COUNT = 0.01, 3
"""Share and number of further weights at the ends beyond which they count as cut off."""


def check_weights(graph: ir.Graph) -> Iterator[Finding]:
    """Find weights that are asymmetric, all zero or cut off."""
    for step in weighted_steps(graph):
        yield from _asymmetric(step)
        yield from _dead(step)
        yield from _clipped(step)


def _asymmetric(step: WeightedStep) -> Iterator[Finding]:
    middle = MIDDLES[step.integers.dtype.name]
    off = step.zero_point != middle
    if off.any():
        low, high = int(step.rows().min()), int(step.rows().max())
        yield Finding(
            Severity.WARNING,
            "asymmetric-weight",
            where(step.node),
            f"its weight has a zero point of {int(step.zero_point[off].reshape(-1)[0])}, "
            f"not {middle}: q - z runs from {low} to {high}, "
            + ("which int8 holds" if low >= -128 and high <= 127 else "beyond int8"),
            "quantize weights symmetrically (onnxruntime: weight_type=QuantType.QInt8)",
        )


def _dead(step: WeightedStep) -> Iterator[Finding]:
    dead = int((~step.rows().any(axis=1)).sum())
    if dead:
        yield Finding(
            Severity.INFO,
            "zero-weight",
            where(step.node),
            f"{dead} of {step.channels} channels have weights of nothing but 0",
            "prune them, or look whether the quantization lost them",
        )


def _clipped(step: WeightedStep) -> Iterator[Finding]:
    low, high = INTEGER_RANGES[ir.DataType.from_numpy(step.integers.dtype)]
    rows = np.moveaxis(step.integers, step.axis, 0).reshape(step.channels, -1).astype(int)
    per_channel = step.scale.size > 1
    # A symmetric scale leaves the lowest integer out: -127 is then the end of int8.
    ends = ((rows <= low + 1) | (rows >= high)).sum(axis=1)
    further = np.maximum(ends - AT_AN_END, 0) if per_channel else ends
    count = int(further.sum()) - (0 if per_channel else AT_AN_END)
    if count > max(CLIPPED_SHARE * rows.size, CLIPPED_COUNT):
        yield Finding(
            Severity.WARNING,
            "saturated-weight",
            where(step.node),
            f"{count} of {rows.size} weights lie at the ends of {step.integers.dtype}: "
            "the scale cuts them off",
            "widen the scale, unless the weights are ternary on purpose",
        )
