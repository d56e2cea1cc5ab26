"""Conditions that a target's row may put on a node; each gives its reason in words."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir

from qcompile.graphs.resize_map import why_not_mapped
from qcompile.regions import constant, is_constant
from qcompile.unary import unary_function


@dataclasses.dataclass(frozen=True)
class InputRank:
    """The input at `index` must have one of these ranks."""

    ranks: tuple[int, ...]
    index: int = 0

    def __call__(self, node: ir.Node, /) -> str | None:
        """Return why not, if not."""
        value = node.inputs[self.index] if self.index < len(node.inputs) else None
        if value is None or value.shape is None:
            return f"the shape of input {self.index} is unknown"
        if len(value.shape) in self.ranks:
            return None
        wanted = " or ".join(str(rank) for rank in self.ranks)
        return f"input {self.index} has rank {len(value.shape)}, the kernel takes {wanted}"


@dataclasses.dataclass(frozen=True)
class MatMulRanks:
    """A MatMul must be of matrices; a constant one on the right stands alone."""

    def __call__(self, node: ir.Node, /) -> str | None:
        """Return why not, if not."""
        if is_constant(node.inputs[1]):
            return InputRank((2,), index=1)(node) or InputRank((2, 3, 4))(node)
        for index, value in enumerate(node.inputs):
            if value is None or value.shape is None:
                return f"the shape of input {index} is unknown"
            if len(value.shape) < 2:
                return f"input {index} is a vector, the kernel multiplies matrices"
        return None


@dataclasses.dataclass(frozen=True)
class ConstantInput:
    """The input at `index` must be a constant (possibly behind a DequantizeLinear)."""

    index: int = 1

    def __call__(self, node: ir.Node, /) -> str | None:
        """Return why not, if not."""
        value = node.inputs[self.index] if self.index < len(node.inputs) else None
        return None if is_constant(value) else f"input {self.index} is not a constant"


@dataclasses.dataclass(frozen=True)
class ConstantIfGiven:
    """The input at `index` may be left out, but must not be computed."""

    index: int = 1

    def __call__(self, node: ir.Node, /) -> str | None:
        """Return why not, if not."""
        given = self.index < len(node.inputs) and node.inputs[self.index] is not None
        return ConstantInput(self.index)(node) if given else None


@dataclasses.dataclass(frozen=True)
class OneNumber:
    """The node must be a function of one number: its other operands are constant numbers."""

    def __call__(self, node: ir.Node, /) -> str | None:
        """Return why not, if not."""
        if unary_function(node) is not None:
            return None
        return "it is a table of one operand only where the other is one constant number"


@dataclasses.dataclass(frozen=True)
class ModestConstants:
    """Constants that share a scale with activations must not be masks such as -1e9.

    A step of 8 bits would be so large beside them that nothing of the activation was left.
    """

    indices: tuple[int, ...]
    most: float = 1000.0

    def __call__(self, node: ir.Node, /) -> str | None:
        """Return why not, if not."""
        for index in self.indices:
            array = constant(node.inputs[index])
            if array is not None and np.abs(array).max(initial=0) > self.most:
                return f"a constant beyond {self.most:g} would leave activations no steps"
        return None


@dataclasses.dataclass(frozen=True)
class AttributeIs:
    """An attribute must have this value (or be absent, where that is the default)."""

    name: str
    value: float | str

    def __call__(self, node: ir.Node, /) -> str | None:
        """Return why not, if not."""
        attribute = node.attributes.get(self.name)
        if attribute is None or attribute.value == self.value:
            return None
        return f"{self.name} is {attribute.value}, the kernel takes {self.value}"


@dataclasses.dataclass(frozen=True)
class KnownResize:
    """A Resize must choose or average neighbours that are known before it runs."""

    def __call__(self, node: ir.Node, /) -> str | None:
        """Return why not, if not."""
        return why_not_mapped(node)


@dataclasses.dataclass(frozen=True)
class OneOutput:
    """Outputs after the first must not be asked for."""

    def __call__(self, node: ir.Node, /) -> str | None:
        """Return why not, if not."""
        if any(
            value.name and (value.uses() or value.is_graph_output())
            for value in node.outputs[1:]
        ):
            return f"{len(node.outputs)} outputs are used, the kernel gives one"
        return None
