"""Write one node of a foreign form in standard operators, in its place."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qcompile.errors import UnsupportedOpError
from qcompile.graphs.rewriting import Names, take_over
from qcompile.regions import constant

Array = npt.NDArray[Any]
Attributes = Mapping[str, ir.Attr | int | float | str]


@dataclasses.dataclass(frozen=True)
class Expansion:
    """A node that is being replaced; new nodes go right before it.

    Attributes:
        node: The node.
        names: Names for what is new.
    """

    node: ir.Node
    names: Names

    def input(self, index: int) -> ir.Value | None:
        """Return an input, None where it is left out."""
        return self.node.inputs[index] if index < len(self.node.inputs) else None

    def needed(self, index: int) -> ir.Value:
        """Return an input that must be there."""
        value = self.input(index)
        return value if value is not None else self.refuse(f"its input {index} is missing")

    def number(self, index: int, what: str) -> Array:
        """Return a constant input.

        Raises:
            UnsupportedOpError: It is computed when the model runs.
        """
        array = constant(self.needed(index))
        return array if array is not None else self.refuse(f"{what} is not a constant")

    def rank(self, index: int) -> int | None:
        """Return how many axes an input has, where that is known."""
        value = self.input(index)
        return None if value is None or value.shape is None else len(value.shape)

    def constant(self, label: str, array: npt.ArrayLike) -> ir.Value:
        """Register a constant named after the node."""
        assert self.node.graph is not None
        name = f"{self.node.name}_{label}"
        return self.names.initializer(self.node.graph, name, np.asarray(array))

    def emit(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        attributes: Attributes | None = None,
        *,
        label: str = "",
    ) -> ir.Value:
        """Insert a node and return its output.

        Args:
            op_type: A standard operator.
            inputs: Its inputs.
            attributes: Its attributes.
            label: What is appended to the replaced node's name; the node that stands for it
                has none and takes its name.
        """
        name = f"{self.node.name}_{label}" if label else str(self.node.name)
        new = ir.node(op_type, inputs, attributes)
        new.name = self.names.unique(name) if label else name
        new.outputs[0].name = self.names.unique(f"{name}_out")
        assert self.node.graph is not None
        self.node.graph.insert_before(self.node, new)
        return new.outputs[0]

    def finish(self, value: ir.Value) -> None:
        """Let `value` stand for the node's output, and remove the node."""
        take_over(self.node.outputs[0], value)
        assert self.node.graph is not None
        self.node.graph.remove(self.node, safe=True)

    def refuse(self, problem: str, hint: str = "") -> NoReturn:
        """Refuse the node by name."""
        raise UnsupportedOpError(
            problem,
            where=f"node {self.node.name!r} ({self.node.op_type})",
            hint=hint or "export the model in QDQ form (onnxruntime: QuantFormat.QDQ)",
        )
