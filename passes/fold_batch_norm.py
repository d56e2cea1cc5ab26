"""Fold batch normalization into the convolution or matrix product before it."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir

from qcompile.graphs.linear import Floats, bias_of, rank_of, scale_channels
from qcompile.graphs.rewriting import Names, new_type, take_over
from qcompile.regions import constant, sole_user

FOLDABLE = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


@dataclasses.dataclass(frozen=True)
class FoldBatchNorm(ir.passes.InPlacePass):
    """Replace `BatchNormalization(Conv(x, W, b), scale, B, mean, var)` by `Conv(x, W', b')`.

    f = scale / sqrt(var + epsilon)        W' = W * f        b' = (b - mean) * f + B

    computed in float64 and rounded once. The same for ConvTranspose, Gemm, and rank-2 MatMul,
    which becomes a Gemm. Where there is nothing to fold into, a rank-4 normalization becomes a
    1x1 depthwise Conv with the weight f and the bias B - mean * f, so that what follows sees
    one kind of operator.

    Kept: training mode; statistics that are computed, an input, or lead to no finite f; a
    normalization of another rank whose producer has a second user, is a graph output,
    stands outside the branch, has a computed weight, or scales its terms (Gemm's beta).

    Example:
        before:
            g (float[1,1,4,4] x) => (float[1,2,4,4] y)
            <float[2,1,1,1] w = {3.0, 5.0}, float[2] b = {4.0, 6.0},
             float[2] scale = {8.0, 3.0}, float[2] B = {0.5, 0.25},
             float[2] mean = {1.0, 2.0}, float[2] var = {15.0, 8.0}>
            { a = Conv (x, w, b)
              y = BatchNormalization <epsilon = 1.0> (a, scale, B, mean, var) }
        after:
            g (float[1,1,4,4] x) => (float[1,2,4,4] y)
            <float[2,1,1,1] w = {6.0, 5.0}, float[2] b = {6.5, 4.25}>
            { y = Conv (x, w, b) }
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Return the model and whether any normalization was replaced."""
        names = Names(model)
        modified = False
        for node in ir.traversal.RecursiveGraphIterator(model.graph):
            affine = find_affine(node)
            if affine is None:
                continue
            producer = foldable_producer(node)
            if producer is not None:
                fold(producer, affine, names)
                replacement = producer
            elif rank_of(node.inputs[0]) == 4:
                replacement = depthwise(node, affine, names)
            else:
                continue
            assert node.graph is not None
            take_over(node.outputs[0], replacement.outputs[0])
            node.graph.remove(node, safe=True)
            modified = True
        return ir.passes.PassResult(model, modified)


@dataclasses.dataclass(frozen=True)
class Affine:
    """What a batch normalization computes, a channel: `y = (x - mean) * factor + shift`."""

    mean: Floats
    factor: Floats
    shift: Floats


def find_affine(node: ir.Node) -> Affine | None:
    """Return what a BatchNormalization at inference computes, if all of it is constant."""
    if node.op_type != "BatchNormalization" or node.domain not in ("", "ai.onnx"):
        return None
    if node.attributes.get_int("training_mode", 0) or len(node.outputs) != 1:
        return None
    arrays = [constant(value) for value in node.inputs[1:]]
    gamma, beta, mean, variance = (
        None if array is None else array.astype(np.float64) for array in arrays
    )
    if gamma is None or beta is None or mean is None or variance is None:
        return None
    epsilon = float(np.float32(node.attributes.get_float("epsilon", 1e-5) or 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = gamma / np.sqrt(variance + epsilon)
        finite = np.isfinite(mean * factor) & np.isfinite(factor) & np.isfinite(beta)
    return Affine(mean, factor, beta) if finite.all() else None


def foldable_producer(node: ir.Node) -> ir.Node | None:
    """Return the node before the normalization that can take it in."""
    x = node.inputs[0]
    producer = x.producer() if x is not None else None
    if x is None or producer is None or producer.op_type not in FOLDABLE:
        return None
    if sole_user(x) is not node or producer.graph is not node.graph:
        return None
    bias = bias_of(producer)
    if constant(producer.inputs[1]) is None or (bias is not None and constant(bias) is None):
        return None
    if producer.op_type == "MatMul" and [rank_of(value) for value in producer.inputs] != [
        2,
        2,
    ]:
        return None
    scaled = producer.attributes.get_float("beta", 1.0) != 1.0
    return None if scaled and bias is not None else producer


def fold(producer: ir.Node, affine: Affine, names: Names) -> None:
    """Give the producer the weight and the bias that do the normalization's work."""
    graph, weight, bias = producer.graph, producer.inputs[1], bias_of(producer)
    array, offset = constant(weight), constant(bias)
    assert isinstance(graph, ir.Graph)
    assert weight is not None
    assert array is not None
    scaled = scale_channels(producer, array.astype(np.float64), affine.factor)
    start = np.zeros(1) if offset is None else offset.astype(np.float64)
    moved = (start - affine.mean) * affine.factor + affine.shift
    if producer.op_type == "MatMul":
        producer.op_type = "Gemm"
    producer.resize_inputs(3)
    producer.replace_input_with(
        1, names.initializer(graph, f"{weight.name}_bn", scaled.astype(array.dtype))
    )
    stem = f"{weight.name}_bias" if bias is None else f"{bias.name}_bn"
    producer.replace_input_with(2, names.initializer(graph, stem, moved.astype(array.dtype)))


def depthwise(node: ir.Node, affine: Affine, names: Names) -> ir.Node:
    """Return a 1x1 depthwise Conv that does the normalization's work, put before it."""
    x, gamma, graph = node.inputs[0], constant(node.inputs[1]), node.graph
    assert x is not None
    assert gamma is not None
    assert isinstance(graph, ir.Graph)
    weight = affine.factor.reshape(-1, 1, 1, 1).astype(gamma.dtype)
    bias = (affine.shift - affine.mean * affine.factor).astype(gamma.dtype)
    stem = node.name or node.op_type
    conv = names.node(
        "Conv",
        [
            x,
            names.initializer(graph, f"{stem}_weight", weight),
            names.initializer(graph, f"{stem}_bias", bias),
        ],
        {
            "kernel_shape": (1, 1),
            "strides": (1, 1),
            "pads": (0, 0, 0, 0),
            "dilations": (1, 1),
            "group": len(bias),
        },
        name=f"{stem}_conv",
        like=node.outputs[0],
    )
    conv.outputs[0].type = new_type(node.outputs[0])
    graph.insert_before(node, conv)
    return conv
