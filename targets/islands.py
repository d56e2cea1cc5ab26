"""Float islands: the nodes that stay float, imported through TVM's own ONNX front end."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx
import onnx_ir as ir

from qcompile.errors import UnsupportedOpError
from qcompile.importer.opset import OPSET, one_line
from qcompile.regions import constant
from qcompile.targets.float_kernels import import_float, output_types
from qcompile.targets.island_limits import check_outputs, refuse_wrong_kernels
from qcompile.targets.island_rewrites import rewritten

RATIO_BOUND = 1e-6
"""A scale is a float32: ten of its last bits, relative."""

GRAPHS = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)


@dataclasses.dataclass(frozen=True)
class Island:
    """Neighbouring float nodes that are imported as one.

    Attributes:
        nodes: In topological order.
        inputs: Values from outside, without constants.
        outputs: Values that are read outside.
    """

    nodes: tuple[ir.Node, ...]
    inputs: tuple[ir.Value, ...]
    outputs: tuple[ir.Value, ...]

    @classmethod
    def around(cls, nodes: Sequence[ir.Node], keep: frozenset[ir.Value]) -> Island:
        """Return the island of these nodes; `keep` are outputs wanted beside those read."""
        inside = set(nodes)
        read = [value for node in nodes for value in node.inputs if value is not None]
        inputs = [
            value for value in read if value.producer() not in inside and not value.const_value
        ]
        outputs = [
            value
            for node in nodes
            for value in node.outputs
            if value in keep
            or value.is_graph_output()
            or any(user not in inside for user in value.consumers())
        ]
        return cls(tuple(nodes), tuple(dict.fromkeys(inputs)), tuple(outputs))

    def to_relax(self, tvm_target: Mapping[str, Any]) -> Any:
        """Return an IRModule whose `main` computes the outputs from the inputs.

        Raises:
            UnsupportedOpError: TVM's importer does not know an operator, or gets it wrong.
        """
        for node in self.nodes:
            refuse_rounded_resize(node)
            refuse_wrong_kernels(node)
        try:
            module = import_float(rewritten(self.to_onnx()), tvm_target)
            check_outputs(self.outputs, output_types(module))
            return module
        except Exception as error:
            names = sorted({node.op_type for node in self.nodes})
            raise UnsupportedOpError(
                f"neither an integer kernel nor a float one: {one_line(error)}",
                where=f"float operators {', '.join(names)} at node {self.nodes[0].name!r}",
                hint="replace the operator in the model, or cut the model before it",
            ) from error

    def to_onnx(self) -> onnx.ModelProto:
        """Return the island as an ONNX model of its own, its values numbered.

        Any string may name a value in ONNX; not so in the importer.
        """
        numbers: dict[str, str] = {"": ""}

        def rename(names: Sequence[str]) -> list[str]:
            return [numbers.setdefault(name, f"v{len(numbers)}") for name in names]

        graph = onnx.GraphProto(name="island")
        for node in self.nodes:
            proto = graph.node.add()
            proto.CopyFrom(ir.to_proto(node))
            proto.input[:], proto.output[:] = rename(proto.input), rename(proto.output)
        for values, infos in ((self.inputs, graph.input), (self.outputs, graph.output)):
            for value in values:
                info = infos.add()
                info.CopyFrom(ir.to_proto(value))
                (info.name,) = rename([info.name])
        for value in self._constants():
            assert value.const_value is not None
            (name,) = rename([str(value.name)])
            tensor = onnx.numpy_helper.from_array(value.const_value.numpy(), name)
            graph.initializer.append(tensor)
        owner = self.nodes[0].graph
        assert owner is not None
        version = owner.opset_imports.get("", OPSET)
        return onnx.helper.make_model(
            graph, opset_imports=[onnx.helper.make_opsetid("", version)], ir_version=10
        )

    def _constants(self) -> list[ir.Value]:
        read = [value for node in self.nodes for value in node.inputs if value is not None]
        return list(dict.fromkeys(value for value in read if value.const_value is not None))


def cluster(graph: ir.Graph, is_float: Callable[[ir.Node], bool]) -> list[list[ir.Node]]:
    """Return the nodes in a topological order in which float nodes stand together.

    Each list is one integer node or a run of float nodes. A run may hold unconnected nodes;
    being consecutive, it can always be computed at once.
    """
    waiting = {node: len(node.predecessors()) for node in graph}
    ready: dict[bool, list[ir.Node]] = {False: [], True: []}
    for node in graph:
        if waiting[node] == 0:
            ready[is_float(node)].append(node)
    order: list[list[ir.Node]] = []
    float_turn = False
    while ready[False] or ready[True]:
        if not ready[float_turn]:
            float_turn = not float_turn
            if float_turn:
                order.append([])
        node = ready[float_turn].pop(0)
        if float_turn:
            order[-1].append(node)
        else:
            order.append([node])
        for user in node.successors():
            waiting[user] -= 1
            if waiting[user] == 0:
                ready[is_float(user)].append(user)
    return [run for run in order if run]


def refuse_control_flow(graph: ir.Graph) -> None:
    """Refuse a node that holds graphs of its own: nothing lowers branches and loops.

    Raises:
        UnsupportedOpError: Names the node.
    """
    for node in graph:
        if any(attribute.type in GRAPHS for attribute in node.attributes.values()):
            raise UnsupportedOpError(
                f"{node.op_type} decides while the model runs, and nothing lowers that",
                where=f"node {node.name!r}",
                hint="cut the model before it, or export it with the branch that is taken",
            )


def refuse_rounded_resize(node: ir.Node) -> None:
    """Refuse a Resize whose scale is not the ratio of its sizes: TVM would use that ratio.

    Raises:
        UnsupportedOpError: Names the node, the scale and the sizes.
    """
    scales = (
        constant(node.inputs[2]) if node.op_type == "Resize" and len(node.inputs) > 2 else None
    )
    x, y = node.inputs[0] if node.inputs else None, node.outputs[0]
    if scales is None or x is None or x.shape is None or y.shape is None:
        return
    axes = node.attributes.get_ints("axes") or range(len(x.shape))
    corners = (
        node.attributes.get_string("coordinate_transformation_mode", "") == "align_corners"
    )
    for axis, scale in zip(axes, scales.reshape(-1), strict=False):
        before, after = int(x.shape.numpy()[axis]), int(y.shape.numpy()[axis])
        ratio = after / before
        if abs(ratio - float(scale)) > RATIO_BOUND * ratio and not corners:
            raise UnsupportedOpError(
                f"Resize by {float(scale):g} from {before} to {after}: no float kernel "
                "computes a scale that is not the ratio of the sizes",
                where=f"node {node.name!r}",
                hint="export it with sizes, or with a scale that divides evenly",
            )
