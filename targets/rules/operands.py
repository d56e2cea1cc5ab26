"""Read what a rule needs from a node: constants, types and the epilogue's numbers."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qcompile.regions import constant
from qcompile.targets.kernels.epilogue import Epilogue


def operand(node: ir.Node, index: int) -> ir.Value:
    """Return an input that must be there."""
    value = node.inputs[index]
    assert value is not None, (node.name, index)
    return value


def optional(node: ir.Node, index: int) -> ir.Value | None:
    """Return an input that may be left out."""
    return node.inputs[index] if index < len(node.inputs) else None


def array(node: ir.Node, index: int) -> npt.NDArray[np.generic]:
    """Return a constant input."""
    found = constant(operand(node, index))
    assert found is not None, (node.name, index)
    return found


def vector(node: ir.Node, index: int) -> npt.NDArray[np.generic]:
    """Return a constant input as a kernel takes it: flat."""
    return array(node, index).reshape(-1)


def integers(node: ir.Node, index: int) -> list[int] | None:
    """Return a constant input as a list of integers; None where it is left out."""
    if optional(node, index) is None:
        return None
    return [int(number) for number in vector(node, index)]


def dtype_of(value: ir.Value) -> str:
    """Return the NumPy name of a value's type."""
    assert value.dtype is not None, value.name
    return value.dtype.numpy().name


def pair(node: ir.Node, name: str, first: int = 0) -> tuple[int, int]:
    """Return two neighbouring numbers of an integer-list attribute."""
    numbers = node.attributes[name].as_ints()
    return numbers[first], numbers[first + 1]


EXACT = 2.0**31 - 2.0**8
"""Real numbers below this become int32 without an overflow, rounding errors included."""

WIDEST = 255
"""The most that two numbers of 8 bits differ: a number and its zero point."""


def epilogue_of(node: ir.Node, most: float = math.inf) -> Epilogue:
    """Return the last step of an arithmetic operator.

    Args:
        node: The operator.
        most: What |t| cannot exceed, as `qcompile.ops` names the real result.
    """
    return Epilogue(
        dtype=dtype_of(node.outputs[0]),
        zero_point=node.attributes["y_zero_point"].as_int(),
        lo=node.attributes["lo"].as_float(),
        hi=node.attributes["hi"].as_float(),
        bounded=most < EXACT,
    )
