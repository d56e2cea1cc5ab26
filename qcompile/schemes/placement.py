"""Which nodes of a float graph become integers, and why the others stay float."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np
import onnx_ir as ir

from qcompile.config import CompileConfig
from qcompile.regions import (
    Region,
    Role,
    constant,
    data_inputs,
    find_regions,
    is_arithmetic,
    is_constant,
    role,
)
from qcompile.schemes.faster_float import faster_float
from qcompile.schemes.precision import better_float
from qcompile.target import Target
from qcompile.unary import UNARY_OPS

TAIL = "its output leaves the graph: 8 bits would tie"
BETWEEN_FLOATS = "what it reads and what reads it are float"
PRODUCTS = (Role.WEIGHTED, Role.PRODUCT)
"""What is worth integers even between floats: nearly all of the work."""

QUANTIZATION_OPS = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})


@dataclasses.dataclass(frozen=True)
class Placement:
    """How the nodes of one graph are divided.

    Attributes:
        regions: The integer steps, in the order of their anchors.
        float_reasons: Why each node outside the regions stays float.
    """

    regions: tuple[Region, ...]
    float_reasons: Mapping[ir.Node, str]

    @property
    def quantized(self) -> tuple[ir.Value, ...]:
        """The activations that are stored in 8 bits, in order.

        Those that a region reads; and what a region gives that has no accumulator to give a
        float answer from: a move, a table or a softmax.
        """
        return tuple(dict.fromkeys(_quantized(self.regions)))


def place(graph: ir.Graph, target: Target, config: CompileConfig) -> Placement:
    """Divide the nodes of a graph.

    Integer is what target and config allow, but not

    - the tail, moves, tables and softmaxes whose output only leaves the graph: the last
      arithmetic step gives float straight from its accumulator;
    - all but products that neither read what is integer anyway nor are read by integer
      steps only;
    - what is more precise in float, and little work (see `better_float`);
    - what is faster in float, where the target says what operators take (see `faster_float`).

    Where the config says `float = false` these exceptions do not hold.
    """
    reasons = {node: _why_float(node, target, config) for node in graph}
    wishes = {node for node in graph if config.override(node).float is False}
    for node, reason in better_float(graph).items():
        if node not in wishes:
            reasons[node] = reasons[node] or reason
    regions = find_regions(graph, reasons.__getitem__)
    optional = {
        region
        for region in regions
        if role(region.anchor) not in PRODUCTS
        and config.override(region.anchor).float is not False
    }
    tail = _tail(regions, {r for r in optional if not is_arithmetic(r.anchor)})
    left_over = _between_floats([r for r in regions if r not in tail], optional)
    reasons.update({node: TAIL for region in tail for node in region.nodes})
    reasons.update({node: BETWEEN_FLOATS for region in left_over for node in region.nodes})
    kept = tuple(r for r in regions if r not in tail and r not in left_over)
    if target.speeds is not None:
        free = [r for r in kept if config.override(r.anchor).float is not False]
        faster = faster_float(kept, free, target.speeds)
        reasons.update({node: why for r, why in faster.items() for node in r.nodes})
        kept = tuple(r for r in kept if r not in faster)
    integer = {node for region in kept for node in region.nodes}
    return Placement(
        kept,
        {
            node: reasons[node] or f"{node.op_type} has no integer form"
            for node in graph
            if node not in integer and node.op_type not in QUANTIZATION_OPS
        },
    )


def _why_float(node: ir.Node, target: Target, config: CompileConfig) -> str | None:
    reason = config.reason(node) or target.why_float(node)
    found = role(node)
    if reason is not None or found is None:
        unknown = reason is None and node.op_type in UNARY_OPS
        return "its parameters are not constant" if unknown else reason
    dtype = node.outputs[0].dtype
    if dtype not in (None, ir.DataType.FLOAT):
        return f"its data is {dtype.name}, not FLOAT"
    if found is Role.WEIGHTED:
        return _why_float_weight(node)
    data = data_inputs(node)
    if all(is_constant(value) for value in (*data, *node.inputs)):
        return "its inputs are constant"
    if not all(_is_finite(value) for value in data):
        return "its constant input holds NaN or infinity"
    return None


def _why_float_weight(node: ir.Node) -> str | None:
    weight = constant(node.inputs[1])
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if weight is None or is_constant(node.inputs[0]):
        return "it multiplies no activation by a plain constant weight"
    if not (_is_finite(node.inputs[1]) and _is_finite(bias)):
        return "its constants hold NaN or infinity"
    if bias is None:
        return None
    array = constant(bias)
    channels = np.size(weight, output_axis(node))
    if array is not None and (array.size == 1 or array.size == array.shape[-1] == channels):
        return None
    return "its bias is not one constant number an output channel"


def output_axis(node: ir.Node) -> int:
    """Return the output channel axis of the weight of a Conv, Gemm or MatMul."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "Gemm":
        return 0 if node.attributes.get_int("transB", 0) else 1
    weight = constant(node.inputs[1])
    return weight.ndim - 1 if weight is not None else 1


def _is_finite(value: ir.Value | None) -> bool:
    array = constant(value)
    return array is None or bool(np.isfinite(array).all())


def _tail(regions: list[Region], optional: set[Region]) -> set[Region]:
    """Return the optional regions after which nothing is computed in integers or in float."""
    tail: set[Region] = set()
    nodes: set[ir.Node] = set()
    for region in reversed(regions):
        uses = region.output.uses()
        read = bool(uses) or region.output.is_graph_output()
        if region in optional and read and all(use.node in nodes for use in uses):
            tail.add(region)
            nodes.update(region.nodes)
    return tail


def _between_floats(regions: list[Region], optional: set[Region]) -> set[Region]:
    """Return the optional regions that no integer step leads to or follows."""
    kept = [region for region in regions if region not in optional]
    waiting = [region for region in regions if region in optional]
    while True:
        integers = set(_quantized(kept)) | {region.output for region in kept}
        nodes = {node for region in kept for node in region.nodes}
        joined = [
            region
            for region in waiting
            if (region.inputs and all(value in integers for value in region.activations))
            or _read_only_by(region.output, nodes)
        ]
        if not joined:
            return set(waiting)
        kept += joined
        waiting = [region for region in waiting if region not in joined]


def _read_only_by(value: ir.Value, nodes: set[ir.Node]) -> bool:
    uses = value.uses()
    return bool(uses) and not value.is_graph_output() and all(u.node in nodes for u in uses)


def _quantized(regions: Iterable[Region]) -> Iterable[ir.Value]:
    for region in regions:
        yield from region.activations
        if not is_arithmetic(region.anchor):
            yield region.output
