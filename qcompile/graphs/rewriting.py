"""The few moves that every rewrite of a QDQ graph is made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qcompile.graphs.qdq import Grid

Attributes = Mapping[str, int | float | str | Sequence[int]]


class Names:
    """The names that a model uses, so that new nodes and values get others."""

    def __init__(self, model: ir.Model) -> None:
        self._taken: set[str | None] = {value.name for value in model.graph.inputs}
        for graph in (model.graph, *model.graph.subgraphs()):
            self._taken.update(value.name for value in graph.inputs)
            self._taken.update(graph.initializers)
            for node in graph:
                self._taken.add(node.name)
                self._taken.update(value.name for value in node.outputs)

    def unique(self, name: str) -> str:
        """Return `name`, or `name_1`, `name_2`, ... where it is taken; taken from now on."""
        found, count = name, 0
        while found in self._taken:
            count += 1
            found = f"{name}_{count}"
        self._taken.add(found)
        return found

    def initializer(
        self, graph: ir.Graph, name: str, array: npt.NDArray[np.generic]
    ) -> ir.Value:
        """Register a constant in the graph."""
        unique = self.unique(name)
        value = ir.Value(
            name=unique,
            type=ir.TensorType(ir.DataType.from_numpy(array.dtype)),
            shape=ir.Shape(array.shape),
            const_value=ir.tensor(array, name=unique),
        )
        graph.register_initializer(value)
        return value

    def quantize(self, graph: ir.Graph, x: ir.Value, grid: Grid) -> ir.Node:
        """Return a QuantizeLinear of x, not yet in the graph."""
        parameters = self._parameters(graph, f"{x.name}_q", grid)
        node = self.node("QuantizeLinear", [x, *parameters], name=f"{x.name}_q", like=x)
        grid.describe(node.outputs[0])
        return node

    def dequantize(self, graph: ir.Graph, integers: ir.Value, grid: Grid) -> ir.Node:
        """Return a DequantizeLinear of the integers, not yet in the graph."""
        name = f"{integers.name}_dq"
        parameters = self._parameters(graph, name, grid)
        node = self.node("DequantizeLinear", [integers, *parameters], name=name, like=integers)
        node.outputs[0].dtype = ir.DataType.FLOAT
        return node

    def node(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        attributes: Attributes | None = None,
        *,
        name: str,
        like: ir.Value,
        domain: str = "",
    ) -> ir.Node:
        """Return a node with one output, shaped as `like`, not yet in the graph."""
        unique = self.unique(name)
        node = ir.node(op_type, inputs, attributes, domain=domain, name=unique)
        node.outputs[0].name = self.unique(f"{name}_out")
        node.outputs[0].shape = like.shape
        return node

    def _parameters(self, graph: ir.Graph, name: str, grid: Grid) -> tuple[ir.Value, ir.Value]:
        scale = np.asarray(grid.scale, np.float32)
        zero_point = np.asarray(grid.zero_point, grid.dtype.numpy())
        return (
            self.initializer(graph, f"{name}_scale", scale),
            self.initializer(graph, f"{name}_zero_point", zero_point),
        )


def take_over(old: ir.Value, new: ir.Value) -> None:
    """Let `new` stand wherever `old` stood, under its name; `old` is left without one."""
    new.shape = old.shape if new.shape is None else new.shape
    new.type = new_type(old) if new.type is None else new.type
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    old.name, new.name = None, old.name


def take_over_all(olds: Sequence[ir.Value], new: ir.Value) -> None:
    """Let `new` stand wherever any of the old values stood; one of them may be an output."""
    named = next((old for old in olds if old.is_graph_output()), olds[0])
    for old in olds:
        if old is not named:
            old.replace_all_uses_with(new)
    take_over(named, new)


def remove_unread(nodes: Iterable[ir.Node]) -> None:
    """Remove those of the nodes that nobody reads; readers come before what they read."""
    for node in nodes:
        unread = all(not y.uses() and not y.is_graph_output() for y in node.outputs)
        if unread and node.graph is not None:
            node.graph.remove(node, safe=True)


def new_type(value: ir.Value) -> ir.TensorType | None:
    """Return a type of its own, equal to the value's.

    Two values that share a type object change together when one gets another dtype.
    """
    return None if value.dtype is None else ir.TensorType(value.dtype)
