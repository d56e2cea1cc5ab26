"""Check that a bias is int32 in steps of s_x * s_w."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qcompile.doctor.finding import Finding, Severity, where
from qcompile.doctor.graph import WeightedStep, dequantizer, real_number, weighted_steps
from qcompile.folding.weights import SAME_SCALE
from qcompile.graphs.qdq import qdq_parameters
from qcompile.numerics import INT32_MAX
from qcompile.regions import constant

REQUANTIZED = "quantize it to int32 with scale s_x * s_w"


def check_bias(graph: ir.Graph) -> Iterator[Finding]:
    """Find biases in float, in other integers, or on another scale."""
    for step in weighted_steps(graph):
        problem = bias_problem(step)
        if problem is None:
            continue
        severity, code, what = problem
        integers = requantized_bias(step)
        if integers is None and wanted_scale(step) is not None:
            what += "; in those steps it is beyond int32"
        yield Finding(
            severity, code, where(step.node), what, REQUANTIZED, fixable=integers is not None
        )


def bias_problem(step: WeightedStep) -> tuple[Severity, str, str] | None:
    """Return what is wrong with the bias of a step, if anything is."""
    bias, wanted = step.bias, wanted_scale(step)
    if bias is None or wanted is None or real_number(bias) is None:
        return None
    pair = dequantizer(bias)
    parameters = qdq_parameters(pair)
    if pair is None or parameters is None:
        what = "its bias is float: runtimes that want integers keep the node in float"
        return Severity.WARNING, "float-bias", what
    scale, _, dtype = parameters
    integers = constant(pair.inputs[0])
    if integers is None or dtype != ir.DataType.INT32:
        what = f"its bias is {dtype.name.lower()}, and the accumulator is int32"
        return Severity.WARNING, "bias-type", what
    if scale.size not in (1, integers.size):
        return None
    scale, wanted = np.broadcast_arrays(scale.reshape(-1), wanted)
    worst = int(np.argmax(np.abs(scale / wanted - 1)))
    if abs(scale[worst] / wanted[worst] - 1) <= SAME_SCALE:
        return None
    what = (
        f"its bias has scale {scale[worst]:.6g} in channel {worst}, and s_x * s_w is "
        f"{wanted[worst]:.6g}: runtimes add the integers as they are, in steps of s_x * s_w"
    )
    return Severity.ERROR, "bias-scale", what


def wanted_scale(step: WeightedStep) -> npt.NDArray[np.float64] | None:
    """Return s_x * s_w, one or one a channel; None where it is no scale."""
    if step.x is None or not step.fits:
        return None
    wanted = step.x.scale * step.scale.reshape(-1)
    return wanted if bool((np.isfinite(wanted) & (wanted > 0)).all()) else None


def requantized_bias(step: WeightedStep) -> npt.NDArray[np.int32] | None:
    """Return the bias in steps of s_x * s_w; None where int32 does not hold it."""
    real, wanted = real_number(step.bias), wanted_scale(step)
    if real is None or wanted is None or not np.isfinite(real).all():
        return None
    if real.size not in (1, wanted.size) and wanted.size != 1:
        return None
    steps = np.rint(real.reshape(-1) / wanted)
    if np.abs(steps).max(initial=0) > INT32_MAX:
        return None
    return steps.astype(np.int32)
