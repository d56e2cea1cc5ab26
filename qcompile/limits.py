"""Conditions that a target's row may put on a node; each gives its reason in words."""

from __future__ import annotations

import dataclasses

import onnx_ir as ir

from qcompile.regions import is_constant


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
class ConstantInput:
    """The input at `index` must be a constant (possibly behind a DequantizeLinear)."""

    index: int = 1

    def __call__(self, node: ir.Node, /) -> str | None:
        """Return why not, if not."""
        value = node.inputs[self.index] if self.index < len(node.inputs) else None
        return None if is_constant(value) else f"input {self.index} is not a constant"


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
