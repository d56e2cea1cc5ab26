"""Prove from the weights which sums can leave their type."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qcompile.doctor.check_bias import requantized_bias
from qcompile.doctor.finding import Finding, Severity, where
from qcompile.doctor.graph import weighted_steps
from qcompile.numerics import INT32_MAX, INT32_MIN, accumulator_bounds

INT16_MIN, INT16_MAX = -(2**15), 2**15 - 1
LARGEST_U8 = 255


def check_saturation(graph: ir.Graph) -> Iterator[Finding]:
    """Find channels that x86 without VNNI may saturate: pairs of products in int16.

    vpmaddubsw adds two neighbouring products u8 * s8 in int16. With x in [0, 255] the sum of
    a pair lies between 255 * (min(w1, 0) + min(w2, 0)) and 255 * (max(w1, 0) + max(w2, 0)).
    Neighbours are taken along the input channels, as runtimes with channels last have them.
    """
    for step in weighted_steps(graph):
        if step.x is None:
            continue
        share = saturating_channels(step.rows())
        if share.any():
            count, worst = int(share.sum()), int(largest_pairs(step.rows()).max())
            yield Finding(
                Severity.WARNING,
                "saturation",
                where(step.node),
                f"{count} of {step.channels} channels ({count / step.channels:.0%}) have a "
                f"pair of products that may reach {worst}, beyond int16: other runtimes "
                "saturate there on x86 without VNNI (vpmaddubsw); the kernels of qcompile "
                "do not",
                "7-bit weights (onnxruntime: reduce_range=True) if it runs there",
            )


def check_accumulators(graph: ir.Graph) -> Iterator[Finding]:
    """Find channels whose sum may leave int32."""
    for step in weighted_steps(graph):
        if step.x is None:
            continue
        rows = step.rows()
        bias = requantized_bias(step)
        spread = None if bias is None else np.broadcast_to(bias, len(rows))
        low, high = accumulator_bounds(rows, spread, step.x.zero_point, step.x.dtype)
        beyond = (low < INT32_MIN) | (high > INT32_MAX)
        if beyond.any():
            channel = int(np.argmax(beyond))
            worst = max(int(high[channel]), -int(low[channel]))
            yield Finding(
                Severity.ERROR,
                "accumulator",
                where(step.node),
                f"the sum of channel {channel} may reach {worst}, beyond int32 "
                f"({int(beyond.sum())} of {len(rows)} channels)",
                "give those channels a larger weight scale",
            )


def saturating_channels(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Return for each channel whether a pair of neighbours may leave int16."""
    pairs = _pairs(rows)
    highest = LARGEST_U8 * np.maximum(pairs, 0).sum(axis=2).max(axis=1, initial=0)
    lowest = LARGEST_U8 * np.minimum(pairs, 0).sum(axis=2).min(axis=1, initial=0)
    return np.asarray((highest > INT16_MAX) | (lowest < INT16_MIN))


def largest_pairs(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the largest magnitude of a pair of products of each channel."""
    pairs = _pairs(rows)
    sums = np.maximum(np.maximum(pairs, 0).sum(axis=2), -np.minimum(pairs, 0).sum(axis=2))
    return np.asarray(LARGEST_U8 * sums.max(axis=1, initial=0), np.int64)


def _pairs(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the neighbours as [channels, pairs, 2]; the last may stand alone."""
    even = np.pad(rows, ((0, 0), (0, rows.shape[1] % 2)))
    return even.reshape(len(rows), -1, 2)
