"""Write tensor arithmetic as nodes, and as initializers where all of it is constant."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx
import onnx.reference
import onnx_ir as ir

from qcompile.graphs.building import Builder
from qcompile.graphs.rewriting import Attributes
from qcompile.regions import constant

OPSET = 21


@dataclasses.dataclass(frozen=True)
class Expressions:
    """Operators as methods, on values of static shapes; each returns the result's value.

    Attributes:
        build: Puts the nodes before the one they stand for.
        known: Small constants that are there already, by their bytes.
    """

    build: Builder
    known: dict[tuple[object, ...], ir.Value] = dataclasses.field(default_factory=dict)

    def named(self, role: str) -> Expressions:
        """Return the same, whose nodes are named for a role within the old node."""
        stem = f"{self.build.stem}_{role}"
        return Expressions(dataclasses.replace(self.build, named=stem), self.known)

    def number(self, number: float, like: ir.Value) -> ir.Value:
        """Return a scalar of the type of another value."""
        assert like.dtype is not None
        return self._constant(np.asarray(number, like.dtype.numpy()), "number")

    def integers(self, numbers: Sequence[int], role: str) -> ir.Value:
        """Return int64[len(numbers)]."""
        return self._constant(np.asarray(numbers, np.int64), role)

    def zeros(self, shape: Sequence[int], like: ir.Value) -> ir.Value:
        """Return a constant of zeros, of the type of another value."""
        assert like.dtype is not None
        return self._constant(np.zeros(shape, like.dtype.numpy()), "zeros")

    def op(
        self,
        op_type: str,
        inputs: Sequence[ir.Value],
        attributes: Attributes | None = None,
        *,
        shape: Sequence[int],
    ) -> ir.Value:
        """Return the first output of an operator; the first input has its type."""
        arrays = [constant(value) for value in inputs]
        if any(array is None for array in arrays):
            return self.build.op(op_type, inputs, attributes, shape=shape)
        names = [f"x{index}" for index in range(len(inputs))]
        node = onnx.helper.make_node(op_type, names, ["y"])
        for name, given in (attributes or {}).items():
            node.attribute.append(onnx.helper.make_attribute(name, given))
        computed = onnx.reference.ReferenceEvaluator(node, opsets={"": OPSET})
        (y,) = computed.run(None, dict(zip(names, arrays, strict=True)))
        return self.build.constant(np.ascontiguousarray(y), op_type.lower())

    def matmul(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """Return a[...,M,K] times b[K,N]."""
        return self.op("MatMul", [a, b], shape=[*sizes(a)[:-1], sizes(b)[-1]])

    def add(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """Return a + b."""
        return self._both("Add", a, b)

    def subtract(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """Return a - b."""
        return self._both("Sub", a, b)

    def multiply(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """Return a * b."""
        return self._both("Mul", a, b)

    def function(
        self, op_type: str, x: ir.Value, attributes: Attributes | None = None
    ) -> ir.Value:
        """Return a function of one number, of each."""
        return self.op(op_type, [x], attributes, shape=sizes(x))

    def clip(self, x: ir.Value, most: float) -> ir.Value:
        """Return x within -most and most."""
        bounds = [self.number(-most, x), self.number(most, x)]
        return self.op("Clip", [x, *bounds], shape=sizes(x))

    def part(self, x: ir.Value, axis: int, start: int, stop: int) -> ir.Value:
        """Return x[start:stop] along an axis; x itself where that is all of it."""
        shape = list(sizes(x))
        axis %= len(shape)
        if (start, stop) == (0, shape[axis]):
            return x
        shape[axis] = stop - start
        ends = [
            self.integers([end], role)
            for end, role in ((start, "start"), (stop, "stop"), (axis, "axis"))
        ]
        return self.op("Slice", [x, *ends], shape=shape)

    def parts(self, x: ir.Value, axis: int, count: int) -> list[ir.Value]:
        """Return x cut into equal parts along an axis."""
        size = sizes(x)[axis] // count
        return [self.part(x, axis, size * at, size * (at + 1)) for at in range(count)]

    def transpose(self, x: ir.Value, perm: Sequence[int]) -> ir.Value:
        """Return x with its axes in another order."""
        shape = [sizes(x)[axis] for axis in perm]
        return self.op("Transpose", [x], {"perm": list(perm)}, shape=shape)

    def reshape(self, x: ir.Value, shape: Sequence[int]) -> ir.Value:
        """Return x under another shape."""
        target = self.integers(shape, "shape")
        return self.op("Reshape", [x, target], shape=shape)

    def concat(self, parts: Sequence[ir.Value], axis: int) -> ir.Value:
        """Return the parts side by side along an axis; one part as it is."""
        if len(parts) == 1:
            return parts[0]
        shape = list(sizes(parts[0]))
        shape[axis] = sum(sizes(part)[axis] for part in parts)
        return self.op("Concat", parts, {"axis": axis}, shape=shape)

    def _constant(self, array: npt.NDArray[np.generic], role: str) -> ir.Value:
        key = (array.dtype, array.shape, array.tobytes())
        if key not in self.known:
            self.known[key] = self.build.constant(array, role)
        return self.known[key]

    def _both(self, op_type: str, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.op(op_type, [a, b], shape=np.broadcast_shapes(sizes(a), sizes(b)))


def sizes(value: ir.Value) -> tuple[int, ...]:
    """Return the static shape of a value."""
    assert value.shape is not None, value.name
    return tuple(int(size) for size in value.shape.numpy())


def has_sizes(value: ir.Value | None) -> bool:
    """Whether a value is there and its shape is static."""
    return value is not None and value.shape is not None and value.shape.is_static()
