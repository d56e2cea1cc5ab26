"""Quantize matrix products at run time, by the range that each tensor turns out to have."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qcompile.config import CompileConfig
from qcompile.graphs.building import Builder
from qcompile.graphs.rewriting import Names
from qcompile.numerics import INT32_MAX
from qcompile.ops import FLOAT_REASON
from qcompile.quant import LEAST_SCALE
from qcompile.regions import STANDARD_DOMAINS, Role, constant, role

HIGHEST = 127
STEPS = 255
"""How far an 8-bit integer lies from its zero point at most."""

Dynamic = tuple[ir.Value, ir.Value, ir.Value]
"""The integers of a tensor, their scale and their zero point."""


@dataclasses.dataclass(frozen=True)
class InsertDynamic(ir.passes.InPlacePass):
    """Write MatMul and Gemm in the standard ONNX form of dynamic quantization.

    q, s, z = DynamicQuantizeLinear(x)                     one for all that read x
    MatMul(x, w) = Cast(MatMulInteger(q, w', z)) * (s * s_w)
    MatMul(a, b) = Cast(MatMulInteger(q_a, q_b, z_a, z_b)) * (s_a * s_b)
    Gemm(x, w, c) = the first + c

    with w' = rint(w / s_w) and s_w = max |w| / 127 for each column. The result is standard
    ONNX that any runtime runs. Kept: all the rest, a product or convolution with the reason
    in its metadata, and sub-graphs.

    Attributes:
        config: The user's choices; what it keeps in float stays float.

    Example:
        before:
            g (float[3,2] x) => (float[3,2] y) <float[2,2] w = {1.27, 2.0, 0.5, -2.54}>
            { y = MatMul (x, w) }
        after:
            g (float[3,2] x) => (float[3,2] y)
            <int8[2,2] w = {127, 100, 50, -127}, float[2] s_w = {0.01, 0.02}>
            { q, s, z = DynamicQuantizeLinear (x)  i = MatMulInteger (q, w, z)
              f = Cast <to = 1> (i)  t = Mul (s, s_w)  y = Mul (f, t) }
    """

    config: CompileConfig = dataclasses.field(default_factory=CompileConfig)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Return the model and whether any product was rewritten or any reason is new."""
        names, modified = Names(model), False
        known: dict[ir.Value, Dynamic] = {}
        for node in list(model.graph):
            if role(node) not in (Role.WEIGHTED, Role.PRODUCT):
                continue
            reason = self.config.reason(node) or why_float(node)
            if reason is None:
                rewrite(node, names, known)
            elif node.metadata_props.get(FLOAT_REASON) == reason:
                continue
            else:
                node.metadata_props[FLOAT_REASON] = reason
            modified = True
        return ir.passes.PassResult(model, modified)


def why_float(node: ir.Node) -> str | None:
    """Return why a product has no dynamic form, or None where it has one."""
    if node.op_type not in ("MatMul", "Gemm") or node.domain not in STANDARD_DOMAINS:
        return "the recipe dynamic-int8 quantizes products of matrices"
    x, w = node.inputs[:2]
    if x is None or w is None or x.dtype != ir.DataType.FLOAT or constant(x) is not None:
        return "its left side is no float activation"
    if node.attributes.get_int("transA", 0):
        return "its transA is not 0"
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if (
        bias is not None
        and constant(bias) is None
        and node.attributes.get_float("beta", 1) != 1
    ):
        return "its beta is not 1"
    weight = matrix(node)
    if weight is None:
        return _why_float_activations(node, x, w)
    if weight.ndim != 2:
        return f"its weight has rank {weight.ndim}, the kernel takes 2"
    if not np.isfinite(weight).all():
        return "its weight holds NaN or infinity"
    deepest = INT32_MAX // (STEPS * HIGHEST)
    return None if len(weight) <= deepest else f"it sums more than {deepest} products"


def _why_float_activations(node: ir.Node, x: ir.Value, w: ir.Value) -> str | None:
    if node.op_type == "Gemm":
        return "its weight is not a constant"
    if x.shape is None or w.shape is None:
        return "the shape of an input is unknown"
    if min(len(x.shape), len(w.shape)) < 2:
        return "one side is a vector, the kernel multiplies matrices"
    depth = x.shape[-1]
    if not isinstance(depth, int):
        return "the size of the axis that it sums over is unknown"
    deepest = INT32_MAX // STEPS**2
    return None if depth <= deepest else f"it sums more than {deepest} products"


def matrix(node: ir.Node) -> npt.NDArray[np.float64] | None:
    """Return the constant right side as [K, N], times alpha; None where it is computed."""
    array = constant(node.inputs[1])
    if array is None:
        return None
    weight = array.astype(np.float64)
    if node.op_type == "MatMul":
        return weight
    weight = weight.T if node.attributes.get_int("transB", 0) else weight
    return weight * node.attributes.get_float("alpha", 1.0)


def rewrite(node: ir.Node, names: Names, known: dict[ir.Value, Dynamic]) -> None:
    """Replace one product."""
    build, y = Builder(names, node), node.outputs[0]
    graph = build.graph
    x, w = node.inputs[:2]
    assert x is not None
    assert w is not None
    q, scale, zero_point = dynamic(x, build, known)
    weight = matrix(node)
    if weight is None:
        right, w_scale, w_zero_point = dynamic(w, build, known)
        factors = [q, right, zero_point, w_zero_point]
    else:
        scales, integers = per_column(weight)
        w_scale = build.constant(scales, "weight_scale")
        factors = [q, build.constant(integers, "weight_quantized"), zero_point]
    total = build.op("MatMulInteger", factors, shape=y.shape)
    total.type = ir.TensorType(ir.DataType.INT32)
    real = build.op("Cast", [total], {"to": int(ir.DataType.FLOAT)}, shape=y.shape)
    real.type = ir.TensorType(ir.DataType.FLOAT)
    both = build.op("Mul", [scale, w_scale], shape=w_scale.shape, role="scale")
    answer = build.op("Mul", [real, both], shape=y.shape, role="scaled")
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is not None:
        array, beta = constant(bias), node.attributes.get_float("beta", 1.0)
        if array is not None and beta != 1:
            bias = build.constant((array.astype(np.float64) * beta).astype(np.float32), "bias")
        answer = build.op("Add", [answer, bias], shape=y.shape)
    build.replace(answer)
    if w.is_initializer() and not w.uses() and not w.is_graph_output():
        del graph.initializers[str(w.name)]


def dynamic(x: ir.Value, build: Builder, known: dict[ir.Value, Dynamic]) -> Dynamic:
    """Return the integers of x, their scale and zero point: made before its first reader."""
    if x in known:
        return known[x]
    name = f"{x.name}_dynamic"
    node = build.names.node("DynamicQuantizeLinear", [x], name=name, like=x)
    node.resize_outputs(3)
    q, scale, zero_point = node.outputs
    q.type = ir.TensorType(ir.DataType.UINT8)
    for value, kind in ((scale, ir.DataType.FLOAT), (zero_point, ir.DataType.UINT8)):
        value.shape, value.type = ir.Shape([]), ir.TensorType(kind)
    scale.name = build.names.unique(f"{name}_scale")
    zero_point.name = build.names.unique(f"{name}_zero_point")
    build.graph.insert_before(build.old, node)
    known[x] = (q, scale, zero_point)
    return known[x]


def per_column(
    weight: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int8]]:
    """Return the scale of every column and the integers; a column of zeros has scale 1."""
    largest = np.abs(weight).max(axis=0, initial=0)
    with np.errstate(over="ignore"):
        scales = np.maximum(largest / HIGHEST, LEAST_SCALE).astype(np.float32)
    scales = np.where(largest == 0, np.float32(1), scales)
    steps = np.clip(np.rint(weight / scales), -HIGHEST, HIGHEST)
    return scales, steps.astype(np.int8)
