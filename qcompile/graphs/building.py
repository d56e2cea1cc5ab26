"""Put new nodes before a node that they replace."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qcompile.graphs.rewriting import Attributes, Names, new_type, remove_unread, take_over


@dataclasses.dataclass(frozen=True)
class Builder:
    """Makes nodes that stand before `old` and are named for it.

    Attributes:
        names: The model's names.
        old: The node to replace.
        named: What the new names begin with, where it is not the old node's name.
    """

    names: Names
    old: ir.Node
    named: str = ""

    @property
    def graph(self) -> ir.Graph:
        """The graph of the node to replace."""
        assert isinstance(self.old.graph, ir.Graph)
        return self.old.graph

    @property
    def stem(self) -> str:
        """What new names begin with."""
        return self.named or self.old.name or self.old.op_type

    def constant(self, array: npt.NDArray[np.generic], role: str) -> ir.Value:
        """Return a new initializer, `<old>_<role>`."""
        return self.names.initializer(self.graph, f"{self.stem}_{role}", array)

    def integers(self, numbers: Sequence[int], role: str) -> ir.Value:
        """Return a new initializer int64[len(numbers)]: a shape, axes, pads."""
        return self.constant(np.asarray(numbers, np.int64), role)

    def op(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        attributes: Attributes | None = None,
        *,
        shape: Sequence[int] | ir.Shape | None,
        role: str = "",
    ) -> ir.Value:
        """Return the output of a new node, of the first input's type."""
        like = self.old.outputs[0]
        name = f"{self.stem}_{role or op_type.lower()}"
        node = self.names.node(op_type, inputs, attributes, name=name, like=like)
        (y,) = node.outputs
        y.shape = None if shape is None else ir.Shape(list(shape))
        y.type = new_type(inputs[0]) if inputs[0] is not None else new_type(like)
        self.graph.insert_before(self.old, node)
        return y

    def reshape(self, x: ir.Value, shape: Sequence[int], role: str = "reshape") -> ir.Value:
        """Return x under another shape."""
        target = self.integers(shape, f"{role}_shape")
        return self.op("Reshape", [x, target], shape=shape, role=role)

    def rearrange(
        self, x: ir.Value, split: Sequence[int], perm: Sequence[int], merged: Sequence[int]
    ) -> ir.Value:
        """Return Reshape(Transpose(Reshape(x, split), perm), merged)."""
        apart = self.reshape(x, split, "split")
        turned = [split[axis] for axis in perm]
        moved = self.op("Transpose", [apart], {"perm": list(perm)}, shape=turned)
        return self.reshape(moved, merged, "merge")

    def replace(self, new: ir.Value, *, others: Sequence[ir.Node] = ()) -> None:
        """Let `new` stand for the old node's first output, under its name.

        The old node goes, and those of `others` (readers before what they read) that
        nothing reads any more.
        """
        take_over(self.old.outputs[0], new)
        self.graph.remove(self.old, safe=True)
        remove_unread(others)
