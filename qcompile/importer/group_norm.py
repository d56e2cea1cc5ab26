"""GroupNormalization as InstanceNormalization of its groups: ONNX infers no shape for it."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from qcompile.graphs.building import Builder
from qcompile.graphs.rewriting import Names

EPSILON = 1e-5
"""ONNX's default."""


def lower_group_norms(model: ir.Model) -> bool:
    """Replace every GroupNormalization whose input has a fixed shape; return whether any.

    y = Reshape(InstanceNormalization(Reshape(x, [N, G, -1]), 1, 0), shape of x) * scale + bias

    with scale and bias a number a channel, as opset 21 has them.
    """
    names = Names(model)
    found = [node for node in model.graph if node.op_type == "GroupNormalization"]
    lowered = [_lower(node, names) for node in found if not node.domain]
    return any(lowered)


def _lower(node: ir.Node, names: Names) -> bool:
    x, scale, bias = node.inputs
    if x is None or scale is None or bias is None or x.shape is None:
        return False
    if not x.shape.is_static() or len(x.shape) < 2:
        return False
    shape = [int(size) for size in x.shape.numpy()]
    groups = node.attributes["num_groups"].as_int()
    if groups < 1 or shape[1] % groups:
        return False
    build = Builder(names, node)
    rows = [shape[0], groups, math.prod(shape[1:]) // groups]
    ones, zeros = (
        build.constant(np.full(groups, each, np.float32), "unit") for each in (1, 0)
    )
    epsilon = {"epsilon": node.attributes.get_float("epsilon", EPSILON)}
    normal = build.op(
        "InstanceNormalization",
        [build.reshape(x, rows, "groups"), ones, zeros],
        epsilon,
        shape=rows,
    )
    whole = build.reshape(normal, shape, "whole")
    along = [shape[1]] + [1] * (len(shape) - 2)
    scaled = build.op("Mul", [whole, build.reshape(scale, along, "scale")], shape=shape)
    shifted = build.op("Add", [scaled, build.reshape(bias, along, "bias")], shape=shape)
    build.replace(shifted)
    return True
