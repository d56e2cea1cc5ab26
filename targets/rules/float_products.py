"""Conv, Gemm and MatMul of floats with constant weights, and what joins their kernels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qcompile.graphs.qdq import real_constant
from qcompile.regions import activation_bounds, constant, sole_user
from qcompile.targets.emitter import Array, Buffer, Emitter, plain_layout
from qcompile.targets.float_plan import FLOAT, Taps, has_numbers, image_layout, is_depthwise
from qcompile.targets.kernels.float_conv import FloatConv
from qcompile.targets.kernels.float_depthwise import FloatDepthwise
from qcompile.targets.kernels.float_end import FloatEnd
from qcompile.targets.kernels.float_functions import FUNCTIONS
from qcompile.targets.kernels.float_matmul import FloatMatMul
from qcompile.targets.kernels.view import View
from qcompile.targets.layout import Layout
from qcompile.targets.plan import static_shape
from qcompile.targets.rules.floats import PRODUCTS, function_name, runs
from qcompile.targets.rules.operands import operand, optional

IN_BYTES = 4
"""How many products of 8 bits take as long as one of floats."""

F32 = npt.NDArray[np.float32]

GATE = "Sigmoid"
"""x * Sigmoid(x) joins as one function of x."""


@dataclasses.dataclass(frozen=True)
class ProductGroup:
    """What one kernel of a product computes.

    Attributes:
        nodes: The Conv, Gemm or MatMul, and what joins it, in order.
        bias: The constant that an Add of the group brings, if any.
        residual: What another Add of the group adds, if any.
        end: The other steps.
    """

    nodes: tuple[ir.Node, ...]
    bias: F32 | None = None
    residual: ir.Value | None = None
    end: FloatEnd = dataclasses.field(default_factory=FloatEnd)

    @property
    def output(self) -> ir.Value:
        """What the last node gives."""
        return self.nodes[-1].outputs[0]


def product_groups(
    graph: ir.Graph, kept: frozenset[ir.Value], absorbed: Collection[ir.Node] = ()
) -> Mapping[ir.Node, ProductGroup]:
    """Return the group of every float product that has a kernel of ours, by its last node.

    Args:
        graph: The integer graph.
        kept: Values that must be there in the end.
        absorbed: Nodes that another kernel computes.
    """
    taken = set(absorbed)
    groups = {}
    for node in graph:
        if node.op_type in PRODUCTS and runs(node):
            group = _group(node, kept, taken)
            taken.update(group.nodes)
            groups[group.nodes[-1]] = group
    return groups


def _group(node: ir.Node, kept: frozenset[ir.Value], taken: set[ir.Node]) -> ProductGroup:
    group = ProductGroup((node,))

    def follower() -> ir.Node | None:
        value = group.output
        user = sole_user(value)
        alone = user is not None and value not in kept and user not in taken and runs(user)
        return user if alone else None

    for join in (_with_bias, _with_residual, _with_bounds, _with_function):
        user = follower()
        group = (join(group, user) or group) if user is not None else group
    return _with_gate(group, kept, taken) or group


def _with_bias(group: ProductGroup, user: ir.Node) -> ProductGroup | None:
    """Join an Add of a constant row to a MatMul."""
    if user.op_type != "Add" or group.nodes[0].op_type != "MatMul":
        return None
    if both_computed(group.nodes[0]):
        return None
    row = constant(_other(user, group.output))
    columns = static_shape(group.output)[-1]
    if row is None or row.size != columns or row.shape[-1:] != (columns,):
        return None
    return dataclasses.replace(
        group, nodes=(*group.nodes, user), bias=np.asarray(row.reshape(-1), np.float32)
    )


def _with_residual(group: ProductGroup, user: ir.Node) -> ProductGroup | None:
    """Join an Add of another tensor of the same shape."""
    node, other = group.nodes[0], _other(user, group.output)
    if user.op_type != "Add" or other is None or constant(other) is not None:
        return None
    if other is group.output or static_shape(other) != static_shape(group.output):
        return None
    if node.op_type == "Conv" and is_depthwise(node):
        return None
    return dataclasses.replace(group, nodes=(*group.nodes, user), residual=other)


def _with_bounds(group: ProductGroup, user: ir.Node) -> ProductGroup | None:
    """Join a Relu or a Clip with constant bounds."""
    bounds = activation_bounds(user)
    if bounds is None:
        return None
    end = dataclasses.replace(group.end, lo=bounds[0], hi=bounds[1])
    return dataclasses.replace(group, nodes=(*group.nodes, user), end=end)


def _with_function(group: ProductGroup, user: ir.Node) -> ProductGroup | None:
    """Join a function of one number."""
    name = function_name(user)
    if name not in FUNCTIONS or name == "Cast":
        return None
    end = dataclasses.replace(group.end, function=name)
    return dataclasses.replace(group, nodes=(*group.nodes, user), end=end)


def _with_gate(
    group: ProductGroup, kept: frozenset[ir.Value], taken: set[ir.Node]
) -> ProductGroup | None:
    """Join `y * Sigmoid(y)`, y having no other reader."""
    y, readers = group.output, list(group.output.consumers())
    gates = [reader for reader in readers if reader.op_type == GATE]
    if group.end.function or len(gates) != 1 or y in kept or y.is_graph_output():
        return None
    product = sole_user(gates[0].outputs[0])
    if product is None or product.op_type != "Mul" or gates[0].outputs[0] in kept:
        return None
    if not taken.isdisjoint((gates[0], product)):
        return None
    alike = {*product.inputs} == {y, gates[0].outputs[0]} and {*readers} == {gates[0], product}
    if not alike or not runs(product) or not runs(gates[0]):
        return None
    end = dataclasses.replace(group.end, function=GATE, gate=True)
    return dataclasses.replace(group, nodes=(*group.nodes, gates[0], product), end=end)


def _other(node: ir.Node, value: ir.Value) -> ir.Value | None:
    inputs = node.inputs
    return inputs[1 if inputs[0] is value else 0] if len(inputs) == 2 else None


def emit_product(group: ProductGroup, emit: Emitter) -> None:
    """Emit the kernel of a group."""
    node, y = group.nodes[0], group.output
    residual = group.residual
    if both_computed(node):
        emit_batch(group, emit)
        return
    if node.op_type == "Conv":
        template, weight, source = _conv(group, emit)
    else:
        source = plain_layout(operand(node, 0))
        template = FloatConv(
            x=source,
            y=plain_layout(y),
            isa=emit.isa,
            late=group.bias is not None,
            residual=plain_layout(residual) if residual is not None else None,
            end=group.end,
        )
        weight = np.ascontiguousarray(real(node, 1).T)[:, :, None, None]
    x = emit.buffer(operand(node, 0), source)
    parallel = emit.worth_launch(IN_BYTES * template.macs(), x)
    template = dataclasses.replace(template, parallel=parallel)
    buffers: list[Buffer | Array] = [x, *template.pack(weight, _bias(group))]
    if residual is not None:
        assert isinstance(template, FloatConv)
        buffers.append(emit.buffer(residual, template.residual))
    _produce(group, template, buffers, emit)


def both_computed(node: ir.Node) -> bool:
    """Whether no side of a MatMul is a constant matrix that could be packed."""
    weight = operand(node, 1)
    flat = has_numbers(weight) and len(static_shape(weight)) == 2
    return node.op_type == "MatMul" and not flat


def emit_batch(group: ProductGroup, emit: Emitter) -> None:
    """Emit a MatMul of two activations; a side is moved only where it cannot be read."""
    node, y, residual = group.nodes[0], group.output, group.residual
    (left, a), (right, b) = (_rows(operand(node, index), emit) for index in range(2))
    template = FloatMatMul.of(
        a, b, static_shape(y)[:-2], isa=emit.isa, end=group.end, added=residual is not None
    )
    parallel = emit.worth_launch(IN_BYTES * template.macs(), left)
    template = dataclasses.replace(template, parallel=parallel)
    extra = [emit.plain(residual)] if residual is not None else []
    _produce(group, template, [left, right, *extra], emit)


def _rows(value: ir.Value, emit: Emitter) -> tuple[Buffer, View]:
    """Return matrices whose rows can be read: neighbours of a row lie together."""
    buffer, view = emit.where(value)
    if view.strides[-1] == 1:
        return buffer, view
    return emit.plain(value), View.plain(static_shape(value))


def _produce(
    group: ProductGroup,
    template: FloatConv | FloatDepthwise,
    buffers: Sequence[Buffer | Array],
    emit: Emitter,
) -> None:
    """Emit the call, in the name of all nodes of the group."""
    buffer = emit.call(
        template,
        buffers,
        size=template.y.size,
        dtype=FLOAT,
        node=", ".join(str(each.name or each.outputs[0].name) for each in group.nodes),
        tile=str(getattr(template, "tile", "") or ""),
        macs=template.macs(),
    )
    layout = template.y if template.y.image else plain_layout(group.output)
    emit.define(group.output, buffer, layout)


def _conv(
    group: ProductGroup, emit: Emitter
) -> tuple[FloatConv | FloatDepthwise, F32, Layout]:
    """Return the kernel of a Conv, its weight, and where its input must lie."""
    node, y = group.nodes[0], group.output
    source = image_of(operand(node, 0), emit)
    weight, taps = real(node, 1), Taps.of(node)
    fields: dict[str, Any] = {
        "x": source,
        "y": image_of(y, emit),
        "isa": emit.isa,
        "end": group.end,
    }
    fields |= {
        name: getattr(taps, name) for name in ("kernel", "strides", "pads", "dilations")
    }
    if is_depthwise(node):
        return FloatDepthwise(**fields), weight, source
    residual = image_of(group.residual, emit) if group.residual is not None else None
    number = node.attributes.get_int("group", 1)
    return FloatConv(**fields, group=number, residual=residual), weight, source


def image_of(value: ir.Value, emit: Emitter) -> Layout:
    """Return the layout that a tensor has as images, or gets where it is read."""
    return emit.layouts.get(value) or image_layout(value, emit.isa)


def _bias(group: ProductGroup) -> F32 | None:
    """Return the bias of the node or of the group, a number a channel."""
    node = group.nodes[0]
    if node.op_type == "MatMul" or optional(node, 2) is None:
        return group.bias
    size = static_shape(node.outputs[0])[1]
    return np.broadcast_to(real(node, 2).reshape(-1), (size,))


def real(node: ir.Node, index: int) -> F32:
    """Return a constant input of floats, dequantized where it is stored in 8 bits."""
    found = real_constant(operand(node, index))
    assert found is not None, (node.name, index)
    return np.asarray(found, np.float32)


def emit_alone(node: ir.Node, emit: Emitter) -> None:
    """Emit a product by itself."""
    emit_product(ProductGroup((node,)), emit)


RULES: dict[str, Callable[[ir.Node, Emitter], None]] = dict.fromkeys(PRODUCTS, emit_alone)
