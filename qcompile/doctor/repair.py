"""The repairs that are safe: no answer changes by more than the rounding of a bias."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from qcompile.doctor.check_bias import bias_problem, requantized_bias, wanted_scale
from qcompile.doctor.check_parameters import only_axis, scale_count, stored_shape
from qcompile.doctor.check_sharing import output_quantizers, shared_grid
from qcompile.doctor.diagnose import PER_CHANNEL_OPSET, prepared
from qcompile.doctor.finding import where
from qcompile.doctor.graph import BORDERS, nodes, weighted_steps
from qcompile.graphs.rewriting import Names
from qcompile.importer.opset import default_opset
from qcompile.passes.cancel_qdq import CancelQdq

Repair = Callable[[ir.Model], list[str]]
"""Repairs a model in place and says what it did."""


def repair(proto: onnx.ModelProto) -> tuple[ir.Model, list[str]]:
    """Return a repaired copy, and one line for each repair.

    The order matters: a scale that changes takes the bias behind it along.

    Raises:
        CompileError: It is no valid ONNX model.
    """
    model = prepared(proto)
    opset = default_opset(proto)
    done = []
    if opset is not None and opset < PER_CHANNEL_OPSET:
        done.append(f"opset {opset} raised to {PER_CHANNEL_OPSET}")
    for step in REPAIRS:
        done += step(model)
    if done:
        common.RemoveUnusedNodesPass()(model)
    return model, done


def fix_axes(model: ir.Model) -> list[str]:
    """Name the axis that several scales fit, where only one does."""
    done = []
    for node in nodes(model.graph):
        size, sizes = scale_count(node), stored_shape(node)
        if node.op_type not in BORDERS or size in (None, 1) or sizes is None:
            continue
        axis, only = node.attributes.get_int("axis", 1), only_axis(node)
        if only is None or (-len(sizes) <= axis < len(sizes) and sizes[axis] == size):
            continue
        node.attributes["axis"] = ir.AttrInt64("axis", only)
        done.append(f"{where(node)}: axis {axis} is {only}")
    return done


def share_scales(model: ir.Model) -> list[str]:
    """Give a mover's output the scale of its inputs where the integers are the same.

    Both scales are one, up to rounding: quantizing gives back each of the 256 integers.
    """
    done = []
    names = Names(model)
    for node in nodes(model.graph):
        grid = shared_grid(node)
        if grid is None or node.graph is None:
            continue
        scale = np.asarray(grid.scale, np.float32)
        zero_point = np.asarray(grid.zero_point, grid.dtype.numpy())
        name = f"{node.outputs[0].name}_shared"
        parameters = (
            names.initializer(node.graph, f"{name}_scale", scale),
            names.initializer(node.graph, f"{name}_zero_point", zero_point),
        )
        for quantizer, _ in output_quantizers(node):
            for border in (quantizer, *(use.node for use in quantizer.outputs[0].uses())):
                border.resize_inputs(3)
                border.replace_input_with(1, parameters[0])
                border.replace_input_with(2, parameters[1])
        done.append(f"{where(node)}: one scale, {grid.scale:.6g}, on both sides")
    return done


def drop_redundant_pairs(model: ir.Model) -> list[str]:
    """Take out a quantization of what was dequantized with the same scale just before."""
    before = sum(node.op_type == "QuantizeLinear" for node in nodes(model.graph))
    if not CancelQdq()(model).modified:
        return []
    after = sum(node.op_type == "QuantizeLinear" for node in nodes(model.graph))
    return [f"{before - after} redundant pairs taken out"]


def requantize_biases(model: ir.Model) -> list[str]:
    """Write biases as int32 in steps of s_x * s_w; each moves by half a step at most."""
    done = []
    names = Names(model)
    for step in weighted_steps(model.graph):
        problem, integers, scale = (
            bias_problem(step),
            requantized_bias(step),
            wanted_scale(step),
        )
        graph, bias = step.node.graph, step.bias
        if problem is None or integers is None or scale is None or graph is None:
            continue
        assert bias is not None
        name = f"{bias.name}_int32"
        shape = [1] * (len(bias.shape) - 1 if bias.shape is not None else 0) + [-1]
        several = scale.size > 1
        stored = np.broadcast_to(integers, np.broadcast_shapes(integers.shape, scale.shape))
        number = scale.astype(np.float32) if several else scale.astype(np.float32).reshape(())
        new = ir.node(
            "DequantizeLinear",
            [
                names.initializer(graph, name, stored.reshape(shape)),
                names.initializer(graph, f"{name}_scale", number),
            ],
            {"axis": len(shape) - 1} if several else None,
            name=names.unique(f"{name}_dq"),
        )
        new.outputs[0].name = names.unique(f"{name}_dq_out")
        new.outputs[0].dtype = ir.DataType.FLOAT
        graph.insert_before(step.node, new)
        step.node.replace_input_with(2, new.outputs[0])
        done.append(f"{where(step.node)}: {problem[1]}, now int32 in steps of s_x * s_w")
    return done


REPAIRS: tuple[Repair, ...] = (
    fix_axes,
    share_scales,
    drop_redundant_pairs,
    requantize_biases,
)
"""In this order."""
