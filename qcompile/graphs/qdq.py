"""What the QuantizeLinear and DequantizeLinear nodes of a QDQ graph say."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qcompile.ops import SCALE, ZERO_POINT
from qcompile.quant import INTEGER_RANGES
from qcompile.regions import constant
from qcompile.target import OpSupport

BYTES = (ir.DataType.UINT8, ir.DataType.INT8)
"""The types of an activation in the integer graph."""


@dataclasses.dataclass(frozen=True)
class Grid:
    """The integers that stand for one activation: `real = scale * (q - zero_point)`.

    Attributes:
        scale: The float32 scale, as a Python float.
        zero_point: The integer that stands for 0.
        dtype: uint8 or int8.
    """

    scale: float
    zero_point: int
    dtype: ir.DataType

    def __post_init__(self) -> None:
        if self.dtype not in BYTES:
            raise ValueError(f"dtype must be UINT8 or INT8, got {self.dtype.name}")

    def __str__(self) -> str:
        return f"{self.dtype.name.lower()} with zero point {self.zero_point}"

    @property
    def bounds(self) -> tuple[int, int]:
        """The lowest and highest integer."""
        return INTEGER_RANGES[self.dtype]

    def retyped(self) -> Grid:
        """Return the same real numbers on the other 8-bit type: all moves by 128."""
        if self.dtype == ir.DataType.INT8:
            return Grid(self.scale, self.zero_point + 128, ir.DataType.UINT8)
        return Grid(self.scale, self.zero_point - 128, ir.DataType.INT8)

    def describe(self, value: ir.Value) -> None:
        """Write type, scale and zero point onto the integer value."""
        value.type = ir.TensorType(self.dtype)  # a new one: a cloned value shares the old
        value.metadata_props[SCALE] = repr(self.scale)
        value.metadata_props[ZERO_POINT] = str(self.zero_point)


def node_grid(node: ir.Node | None) -> Grid | None:
    """Return the grid of a QuantizeLinear or DequantizeLinear of an activation.

    None for any other node, and where the parameters are computed, per channel, blocked, not
    8 bits, or no scale at all (zero, negative, infinite).
    """
    parameters = qdq_parameters(node)
    if parameters is None:
        return None
    scale, zero_point, dtype = parameters
    if dtype not in BYTES or scale.size != 1 or zero_point.size != 1:
        return None
    number = float(scale.reshape(()))
    if not (np.isfinite(number) and number > 0):
        return None
    return Grid(number, int(zero_point.reshape(())), dtype)


def qdq_parameters(
    node: ir.Node | None,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], ir.DataType] | None:
    """Return (scale, zero point, integer type) of a Q or DQ node, if they are constants.

    A missing zero point is 0; its type is then the integer's own, uint8 where nothing says.
    """
    if node is None or node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
        return None
    if node.attributes.get_int("block_size", 0) or len(node.inputs) < 2:
        return None
    scale = constant(node.inputs[1])
    if scale is None or scale.dtype != np.float32:
        return None
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        zero_point = constant(node.inputs[2])
        dtype = node.inputs[2].dtype
    else:
        dtype = _implied_dtype(node)
        zero_point = None if dtype is None else np.zeros(scale.shape, np.int32)
    if zero_point is None or dtype is None:
        return None
    return scale.astype(np.float64), zero_point.astype(np.int64), dtype


def activation(value: ir.Value | None) -> tuple[ir.Value, Grid] | None:
    """Return the integers that a value is dequantized from, and their grid, if it is."""
    producer = value.producer() if value is not None else None
    if producer is None or producer.op_type != "DequantizeLinear":
        return None
    integers, grid = producer.inputs[0], node_grid(producer)
    return None if integers is None or grid is None else (integers, grid)


def real_constant(value: ir.Value | None) -> npt.NDArray[np.float64] | None:
    """Return the real numbers of a constant, dequantized where it stands behind a DQ."""
    array = constant(value)
    if array is not None:
        return array.astype(np.float64)
    node = value.producer() if value is not None else None
    parameters = qdq_parameters(node)
    if parameters is None or node is None or node.op_type != "DequantizeLinear":
        return None
    integers = constant(node.inputs[0])
    if integers is None:
        return None
    scale, zero_point, _ = parameters
    axis = node.attributes.get_int("axis", 1)
    steps = integers.astype(np.float64) - along(zero_point, axis, integers.ndim)
    return np.asarray(steps * along(scale, axis, integers.ndim), np.float64)


def along(parameters: npt.NDArray[np.number], axis: int, rank: int) -> npt.NDArray[np.float64]:
    """Return numbers shaped to broadcast along `axis`; a single one as a scalar."""
    if parameters.size == 1:
        return parameters.reshape(()).astype(np.float64)
    shape = [1] * rank
    shape[axis] = -1
    return parameters.reshape(shape).astype(np.float64)


def accepts(row: OpSupport, grid: Grid) -> bool:
    """Whether a kernel of this row takes an activation on this grid."""
    middle = {ir.DataType.UINT8: 128, ir.DataType.INT8: 0}[grid.dtype]
    return any(
        spec.dtype == grid.dtype and (not spec.symmetric or grid.zero_point == middle)
        for spec in row.activation
    )


def _implied_dtype(node: ir.Node) -> ir.DataType | None:
    if node.op_type == "DequantizeLinear":
        return node.inputs[0].dtype if node.inputs[0] is not None else None
    asked = node.attributes.get_int("output_dtype", 0)
    return ir.DataType(asked) if asked else ir.DataType.UINT8
