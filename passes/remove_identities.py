"""Remove the nodes that hand their input on unchanged."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import onnx_ir as ir

from qcompile.regions import constant


@dataclasses.dataclass(frozen=True)
class RemoveIdentities(ir.passes.InPlacePass):
    """Replace `y = f(x)` by `x` where f changes nothing.

    Identity; Dropout at inference; Cast to the type it has; Reshape, Flatten, Squeeze,
    Unsqueeze and Expand to the shape it has; Transpose that keeps the order; Pad by nothing;
    Slice of everything; Concat, Sum, Max, Min and Mean of one input.

    Kept: a node whose output is a graph output (removing it would rename the output) and a
    Dropout whose mask is used.

    Example:
        before:
            g (float[2,2] x) => (float[2,2] y) <int64[2] s = {2, -1}>
            { a = Dropout (x)  b = Reshape (a, s)  y = Relu (b) }
        after:
            g (float[2,2] x) => (float[2,2] y) { y = Relu (x) }
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Return the model and whether any node was removed."""
        modified = False
        for node in ir.traversal.RecursiveGraphIterator(model.graph):
            question = QUESTIONS.get(node.op_type)
            if node.domain not in ("", "ai.onnx") or question is None or not question(node):
                continue
            source, output = node.inputs[0], node.outputs[0]
            if source is None or output.is_graph_output():
                continue
            output.replace_all_uses_with(source)
            assert node.graph is not None
            node.graph.remove(node, safe=True)
            modified = True
        return ir.passes.PassResult(model, modified)


def static_shape(value: ir.Value | None) -> tuple[int, ...] | None:
    """Return the shape of a value where all of it is known."""
    if value is None or value.shape is None:
        return None
    sizes = [size for size in value.shape if isinstance(size, int)]
    return tuple(sizes) if len(sizes) == len(value.shape) else None


def _always(_: ir.Node) -> bool:
    return True


def _is_inference_dropout(node: ir.Node) -> bool:
    mask_used = any(mask.uses() or mask.is_graph_output() for mask in node.outputs[1:])
    training = node.inputs[2] if len(node.inputs) > 2 else None
    flag = constant(training)
    return not mask_used and (training is None or (flag is not None and not flag.any()))


def _keeps_type(node: ir.Node) -> bool:
    source = node.inputs[0]
    return source is not None and source.dtype == ir.DataType(node.attributes["to"].as_int())


def _keeps_shape(node: ir.Node) -> bool:
    shape = static_shape(node.inputs[0])
    return shape is not None and shape == static_shape(node.outputs[0])


def _keeps_order(node: ir.Node) -> bool:
    perm = node.attributes.get("perm")
    return perm is not None and list(perm.as_ints()) == sorted(perm.as_ints())


def _adds_nothing(node: ir.Node) -> bool:
    pads = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    return pads is not None and not pads.any()


def _takes_everything(node: ir.Node) -> bool:
    steps = node.inputs[4] if len(node.inputs) > 4 else None
    array = constant(steps)
    forward = steps is None or (array is not None and bool((array == 1).all()))
    return forward and _keeps_shape(node)


def _has_one_input(node: ir.Node) -> bool:
    return len(node.inputs) == 1


QUESTIONS: dict[str, Callable[[ir.Node], bool]] = {
    "Identity": _always,
    "Dropout": _is_inference_dropout,
    "Cast": _keeps_type,
    "Reshape": _keeps_shape,
    "Flatten": _keeps_shape,
    "Squeeze": _keeps_shape,
    "Unsqueeze": _keeps_shape,
    "Expand": _keeps_shape,
    "Transpose": _keeps_order,
    "Pad": _adds_nothing,
    "Slice": _takes_everything,
    "Concat": _has_one_input,
    "Sum": _has_one_input,
    "Max": _has_one_input,
    "Min": _has_one_input,
    "Mean": _has_one_input,
}
