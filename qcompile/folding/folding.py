"""A region about to be folded: what its rule asks of it and builds with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qcompile.graphs.qdq import Grid, activation
from qcompile.graphs.rewriting import Attributes, Names
from qcompile.numerics import F32, finish, quantize
from qcompile.ops import DOMAIN
from qcompile.regions import Region

Operand = ir.Value | tuple[str, npt.NDArray[np.generic]]
"""An input of a new node: a value of the graph, or a constant and its name."""


class UnfoldableError(Exception):
    """A node must stay float; the message says why.

    Attributes:
        node: The node, where it is not the one that was asked for.
    """

    def __init__(self, reason: str, node: ir.Node | None = None) -> None:
        super().__init__(reason)
        self.node = node


@dataclasses.dataclass(frozen=True)
class Folding:
    """A region about to be folded.

    Attributes:
        region: The nodes that compute together.
        y: The grid of its output; None where the output stays float.
        names: Names for what is new.
    """

    region: Region
    y: Grid | None
    names: Names

    @property
    def anchor(self) -> ir.Node:
        """The node that names the step."""
        return self.region.anchor

    @property
    def y_scale(self) -> float:
        """The output's scale; 1 where it stays float."""
        return 1.0 if self.y is None else self.y.scale

    def source(self, index: int = 0) -> tuple[ir.Value, Grid]:
        """Return the integers of an input and their grid."""
        value = self.region.inputs[index] if index < len(self.region.inputs) else None
        found = activation(value)
        if found is None:
            raise UnfoldableError(f"its input {index} is not quantized")
        return found

    def operand(self, index: int) -> tuple[ir.Value, Grid]:
        """Return the integers of an input of the anchor, a constant or not, and their grid."""
        found = activation(self.anchor.inputs[index])
        if found is None:
            raise UnfoldableError(f"its input {index} is not quantized")
        return found

    def residual(self) -> tuple[ir.Value, Grid] | None:
        """Return the integers of the residual and their grid, if there is one."""
        value = self.region.residual
        found = activation(value)
        if value is not None and found is None:
            add = next(node for node in self.region.nodes if value in node.inputs)
            raise UnfoldableError(f"its input {value.name!r} is not quantized", add)
        return found

    def node(
        self, op_type: str, operands: Sequence[Operand], attributes: Attributes | None = None
    ) -> ir.Node:
        """Return the node of integers; named arrays become initializers named after it."""
        name, graph = self.anchor.name or str(self.region.output.name), self.anchor.graph
        assert graph is not None
        inputs = [
            operand
            if isinstance(operand, ir.Value)
            else self.names.initializer(graph, f"{name}_{operand[0]}", operand[1])
            for operand in operands
        ]
        node = self.names.node(
            op_type, inputs, attributes, name=name, like=self.region.output, domain=DOMAIN
        )
        if self.y is None:
            node.outputs[0].dtype = ir.DataType.FLOAT
        else:
            self.y.describe(node.outputs[0])
        return node

    def last_step(self) -> Attributes:
        """Return the attributes of the last step: the output's grid and the activation."""
        lo, hi = self._bounds
        return {
            "y_dtype": int(ir.DataType.FLOAT if self.y is None else self.y.dtype),
            "y_zero_point": 0 if self.y is None else self.y.zero_point,
            "lo": lo,
            "hi": hi,
        }

    def finish(self, t: F32) -> npt.NDArray[np.generic]:
        """Return what the last step makes of rescaled accumulators."""
        lo, hi = self._bounds
        if self.y is None:
            return finish(t, y_dtype=ir.DataType.FLOAT, zero_point=0, lo=lo, hi=hi)
        return finish(t, y_dtype=self.y.dtype, zero_point=self.y.zero_point, lo=lo, hi=hi)

    @property
    def _bounds(self) -> tuple[float, float]:
        """What the activation allows, in the output's integers or as float32."""
        high = self.region.high
        ends = np.array([min(self.region.low, high), high], np.float32)
        if self.y is not None:
            y = self.y
            ends = quantize(ends, y.scale, y.zero_point, y.dtype).astype(np.float32)
        return float(ends[0]), float(ends[1])
