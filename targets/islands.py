"""Float islands: the nodes that stay float, imported through TVM's own ONNX front end."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx
import onnx_ir as ir
import tvm
from tvm import relax
from tvm.relax.frontend.onnx import from_onnx

from qcompile.errors import UnsupportedOpError
from qcompile.importer.opset import OPSET, one_line

GRAPHS = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)

LOWERED_LATER = frozenset({"relax.call_tir", "relax.reshape"})
"""Calls that the build turns into instructions of the virtual machine."""

FUSED_AT_MOST = 32
"""Operators that one float kernel may hold: LLVM's time grows faster than the kernel."""


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
            UnsupportedOpError: TVM's importer does not know an operator.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return legalized(
                    from_onnx(self.to_onnx(), keep_params_in_input=False), tvm_target
                )
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


def legalized(module: Any, tvm_target: Mapping[str, Any]) -> Any:
    """Return the imported module with every operator as a kernel, neighbours fused.

    Raises:
        ValueError: TVM has no kernel for an operator.
    """
    step = relax.transform
    steps = tvm.transform.Sequential(
        [
            step.DecomposeOpsForInference(),
            step.CanonicalizeBindings(),
            step.LegalizeOps(),
            step.AnnotateTIROpPattern(),
            step.FoldConstant(),
            step.FuseOps(),
            step.FuseTIR(),
            step.DeadCodeElimination(),
        ]
    )
    depth = {"relax.FuseOps.max_depth": FUSED_AT_MOST}
    with tvm.target.Target(dict(tvm_target)), tvm.transform.PassContext(config=depth):
        module = steps(module)
    for block in module["main"].body.blocks:
        for binding in block.bindings:
            operator = getattr(binding.value, "op", None)
            if isinstance(operator, tvm.ir.Op) and operator.name not in LOWERED_LATER:
                raise ValueError(f"TVM has no kernel for {operator.name}")
    return module


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


class Replay:
    """Emits the body of an imported module's `main` into another function being built."""

    def __init__(self, builder: Any, module: Any, prefix: str) -> None:
        self._builder = builder
        self._main = module["main"]
        self._known: dict[Any, Any] = {
            variable: builder.add_func(
                function.with_attr("global_symbol", prefix + variable.name_hint),
                prefix + variable.name_hint,
            )
            for variable, function in module.functions.items()
            if isinstance(function, tvm.tirx.PrimFunc)
        }

    def emit(self, arguments: Sequence[Any]) -> list[Any]:
        """Emit the bindings with these arguments and return the outputs."""
        self._known.update(zip(self._main.params, arguments, strict=True))
        for block in self._main.body.blocks:
            for binding in block.bindings:
                self._known[binding.var] = self._builder.emit(self._rewrite(binding.value))
        result = self._rewrite(self._main.body.body)
        if isinstance(result, relax.Tuple):
            return list(result.fields)
        if not isinstance(result.ty, relax.TupleType):
            return [result]
        return [
            self._builder.emit(relax.TupleGetItem(result, index))
            for index in range(len(result.ty.fields))
        ]

    def _rewrite(self, expression: Any) -> Any:
        """Return the expression with this function's variables and kernels."""
        if isinstance(expression, relax.Var | tvm.ir.GlobalVar):
            return self._known[expression]
        if isinstance(expression, relax.Tuple):
            return relax.Tuple([self._rewrite(field) for field in expression.fields])
        if isinstance(expression, relax.TupleGetItem):
            return relax.TupleGetItem(self._rewrite(expression.tuple_value), expression.index)
        if isinstance(expression, relax.Call):
            arguments = [self._rewrite(argument) for argument in expression.args]
            return relax.Call(expression.op, arguments, expression.attrs, expression.ty_args)
        return expression
