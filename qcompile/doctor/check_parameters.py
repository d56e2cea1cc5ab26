"""Check the scales, zero points and axes of every QuantizeLinear and DequantizeLinear."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from qcompile.doctor.finding import Finding, Severity, where
from qcompile.doctor.graph import BORDERS, nodes, weighted_steps
from qcompile.graphs.qdq import activation, qdq_parameters
from qcompile.numerics import dequantize, quantize
from qcompile.quant import LEAST_SCALE
from qcompile.regions import constant


def check_scales(graph: ir.Graph) -> Iterator[Finding]:
    """Find scales that are no scales: zero, negative, not finite, subnormal."""
    for node in nodes(graph):
        scale = constant(node.inputs[1]) if node.op_type in BORDERS else None
        if scale is None:
            continue
        numbers = scale.astype(np.float64)
        bad = ~(np.isfinite(numbers) & (numbers > 0))
        small = ~bad & (numbers < LEAST_SCALE)
        if bad.any():
            yield Finding(
                Severity.ERROR,
                "bad-scale",
                where(node),
                f"{int(bad.sum())} of {scale.size} scales are zero, negative or not finite "
                f"(the first is {numbers[bad].reshape(-1)[0]:.6g})",
                "quantize again; an all-zero tensor may have any positive scale",
            )
        if small.any():
            yield Finding(
                Severity.WARNING,
                "tiny-scale",
                where(node),
                f"{int(small.sum())} of {scale.size} scales are below the least normal "
                f"float32 (the first is {numbers[small].reshape(-1)[0]:.6g}), and count as 0 "
                "where subnormal numbers are flushed",
                "quantize again with a floor under the scales",
            )


def check_zero_points(graph: ir.Graph) -> Iterator[Finding]:
    """Find zero points of another type or shape than they must have, and of an int32."""
    for node in nodes(graph):
        if node.op_type not in BORDERS or len(node.inputs) < 3 or node.inputs[2] is None:
            continue
        stored = node.inputs[0] if node.op_type == "DequantizeLinear" else node.outputs[0]
        zero_point, scale = constant(node.inputs[2]), constant(node.inputs[1])
        dtype, asked = node.inputs[2].dtype, stored.dtype if stored is not None else None
        if None not in (dtype, asked) and dtype != asked:
            assert dtype is not None
            assert asked is not None
            yield Finding(
                Severity.ERROR,
                "zero-point-type",
                where(node),
                f"its zero point is {dtype.name.lower()}, its integers {asked.name.lower()}",
                "give both one type",
            )
        if zero_point is None or scale is None:
            continue
        if zero_point.shape != scale.shape and not zero_point.size == scale.size == 1:
            yield Finding(
                Severity.ERROR,
                "zero-point-shape",
                where(node),
                f"it has {zero_point.size} zero points and {scale.size} scales",
                "give it one zero point for each scale",
            )
        if dtype == ir.DataType.INT32 and zero_point.any():
            yield Finding(
                Severity.ERROR,
                "zero-point",
                where(node),
                "an int32 with a zero point other than 0: runtimes take it for 0, or refuse",
                "subtract it from the integers",
            )


def check_axes(graph: ir.Graph) -> Iterator[Finding]:
    """Find scales that do not fit the axis they are said to be along."""
    for node in nodes(graph):
        size, sizes = scale_count(node), stored_shape(node)
        if size is None or size == 1 or sizes is None:
            continue
        axis = node.attributes.get_int("axis", 1)
        if -len(sizes) <= axis < len(sizes) and sizes[axis] == size:
            continue
        only = only_axis(node)
        found = "no such axis" if not -len(sizes) <= axis < len(sizes) else sizes[axis]
        yield Finding(
            Severity.ERROR,
            "axis",
            where(node),
            f"it has {size} scales along axis {axis}, and the tensor there has {found} "
            f"(its shape is {list(sizes)})",
            f"axis {only} is meant" if only is not None else "name the axis of the channels",
            fixable=only is not None,
        )
    for step in weighted_steps(graph):
        if step.scale.size > 1 and step.scale_axis != step.axis:
            yield Finding(
                Severity.WARNING,
                "weight-axis",
                where(step.node),
                f"its weight has scales along axis {step.scale_axis}, and its output "
                f"channels are axis {step.axis}: no integer kernel can rescale that",
                "quantize the weight by output channel",
            )


def check_padding(graph: ir.Graph) -> Iterator[Finding]:
    """Find a Pad whose number its input's grid cannot hold."""
    for node in nodes(graph):
        source = activation(node.inputs[0]) if node.op_type == "Pad" else None
        mode = node.attributes.get_string("mode", "constant")
        filler = constant(node.inputs[2]) if len(node.inputs) > 2 else None
        if source is None or filler is None or mode != "constant":
            continue
        grid = source[1]
        number = np.asarray(filler.reshape(()), np.float32)
        stored = quantize(number, grid.scale, grid.zero_point, grid.dtype)
        real = dequantize(stored, grid.scale, grid.zero_point)
        if float(real) != float(number):
            yield Finding(
                Severity.WARNING,
                "padding-value",
                where(node),
                f"it pads with {float(number):.6g}, which no integer of its input stands for "
                f"(the nearest is {float(real):.6g})",
                "widen the range of its input to that number",
            )


def scale_count(node: ir.Node) -> int | None:
    """Return how many scales a Q or DQ has, None where it has blocks or computes them."""
    parameters = qdq_parameters(node)
    return None if parameters is None else int(parameters[0].size)


def stored_shape(node: ir.Node) -> tuple[int, ...] | None:
    """Return the shape of what a Q or DQ takes, None where it is not known."""
    value = node.inputs[0]
    array = constant(value)
    if array is not None:
        return array.shape
    if value is None or value.shape is None or not value.shape.is_static():
        return None
    return tuple(int(size) for size in value.shape.numpy())


def only_axis(node: ir.Node) -> int | None:
    """Return the one axis that the scales fit, None where none or several do."""
    count, sizes = scale_count(node), stored_shape(node)
    fitting = [axis for axis, size in enumerate(sizes or ()) if size == count]
    return fitting[0] if len(fitting) == 1 else None


def is_per_channel(node: ir.Node) -> bool:
    """Whether a Q or DQ has several scales, or says along which axis."""
    several = (scale_count(node) or 1) > 1 or "axis" in node.attributes
    return node.op_type in BORDERS and several
