"""Rewrite nodes whose replacement depends on sizes: indices, running sums, mixed powers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.numpy_helper
import onnx.shape_inference

from qcompile.importer.functions import STANDARD

LONGEST_SUM = 1024
"""Elements of the longest running sum: it is a product with a triangle of ones."""

Array = npt.NDArray[np.generic]


class Rewriter:
    """Replaces nodes of a model, with names of its own.

    Attributes:
        shapes: The static shape of every value that has one.
        types: The element type of every value.
        constants: What is known of the values when compiling.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        values = (*inferred.input, *inferred.value_info, *inferred.output)
        tensors = {value.name: value.type.tensor_type for value in values}
        self.shapes = {
            name: [dim.dim_value for dim in tensor.shape.dim]
            for name, tensor in tensors.items()
            if tensor.HasField("shape") and all(dim.dim_value > 0 for dim in tensor.shape.dim)
        }
        self.types = {name: tensor.elem_type for name, tensor in tensors.items()}
        self.constants = {
            tensor.name: onnx.numpy_helper.to_array(tensor)
            for tensor in model.graph.initializer
        }
        for name, array in self.constants.items():
            self.shapes[name] = list(array.shape)
            self.types[name] = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        self._model = model
        self._nodes: list[onnx.NodeProto] = []

    def run(self) -> onnx.ModelProto:
        """Rewrite the nodes of REWRITES, in place, and return the model."""
        for node in self._model.graph.node:
            rule = REWRITES.get(node.op_type) if node.domain in STANDARD else None
            if rule is not None:
                rule(self, node)
            self._nodes.append(node)
        del self._model.graph.node[:]
        self._model.graph.node.extend(self._nodes)
        return self._model

    def shape(self, name: str) -> list[int]:
        """Return the static shape of a value.

        Raises:
            ValueError: It is not known.
        """
        if name not in self.shapes:
            raise ValueError(
                f"the size of {name!r} is not known, and its indices have no bound"
            )
        return self.shapes[name]

    def node(self, op_type: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Put a node before the one in hand and return the name of its output."""
        name = f"w{len(self._nodes)}"
        self._nodes.append(onnx.helper.make_node(op_type, inputs, [name], **attributes))
        return name

    def constant(self, array: Array) -> str:
        """Store a constant and return its name."""
        name = f"c{len(self._model.graph.initializer)}"
        tensor = onnx.numpy_helper.from_array(array, name)
        self._model.graph.initializer.append(tensor)
        return name


def clamp_elements(rewriter: Rewriter, node: onnx.NodeProto) -> None:
    """Keep the indices of GatherElements and ScatterElements inside their axis.

    ONNX calls others an error; TVM reads and writes whatever lies there.
    """
    axis = next((each.i for each in node.attribute if each.name == "axis"), 0)
    clamp(rewriter, node, np.array(rewriter.shape(node.input[0])[axis]))


def clamp_tuples(rewriter: Rewriter, node: onnx.NodeProto) -> None:
    """Keep the indices of GatherND and ScatterND inside the axes that they name."""
    batch = next((each.i for each in node.attribute if each.name == "batch_dims"), 0)
    named = rewriter.shape(node.input[1])[-1]
    clamp(rewriter, node, np.array(rewriter.shape(node.input[0])[batch : batch + named]))


def clamp(rewriter: Rewriter, node: onnx.NodeProto, sizes: npt.NDArray[np.int64]) -> None:
    """Put bounds on the second input of a node: -size and size - 1."""
    indices = node.input[1]
    dtype = onnx.helper.tensor_dtype_to_np_dtype(rewriter.types[indices])
    above = rewriter.node("Max", [indices, rewriter.constant((-sizes).astype(dtype))])
    last = rewriter.constant((sizes - 1).astype(dtype))
    node.input[1] = rewriter.node("Min", [above, last])


def sum_by_product(rewriter: Rewriter, node: onnx.NodeProto) -> None:
    """Make a CumSum along an axis the product with a triangle of ones.

    y[..., i] = sum_j x[..., j] t[j, i]   with t[j, i] = 1 for j <= i

    Without j = i it is exclusive, with j >= i reversed.
    """
    shape, axis = rewriter.shapes.get(node.input[0]), rewriter.constants.get(node.input[1])
    flags = {each.name: each.i for each in node.attribute}
    if axis is None or not shape or shape[int(axis.flat[0])] > LONGEST_SUM:
        return
    along = int(axis.flat[0]) % len(shape)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(rewriter.types[node.input[0]])
    triangle = np.triu(
        np.ones((shape[along], shape[along]), dtype), 1 if flags.get("exclusive") else 0
    )
    triangle = triangle.T if flags.get("reverse") else triangle
    perm = [*(each for each in range(len(shape)) if each != along), along]
    moved = rewriter.node("Transpose", [node.input[0]], perm=perm)
    rows = math.prod(shape) // max(shape[along], 1)
    flat_shape = rewriter.constant(np.array([rows, shape[along]]))
    flat = rewriter.node("Reshape", [moved, flat_shape])
    summed = rewriter.node("MatMul", [flat, rewriter.constant(triangle)])
    back = rewriter.constant(np.array([shape[each] for each in perm]))
    shaped = rewriter.node("Reshape", [summed, back])
    inverse = onnx.helper.make_node(
        "Transpose",
        [shaped],
        node.output,
        perm=[perm.index(each) for each in range(len(perm))],
    )
    node.CopyFrom(inverse)


def cast_exponent(rewriter: Rewriter, node: onnx.NodeProto) -> None:
    """Give both inputs of a Pow one float type; the answer has the type of the base."""
    base, exponent = (rewriter.types[name] for name in node.input)
    if base == exponent and base in (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE):
        return
    double = onnx.TensorProto.DOUBLE
    inputs = [rewriter.node("Cast", [name], to=double) for name in node.input]
    power = rewriter.node("Pow", inputs)
    floats = (onnx.TensorProto.FLOAT, double)
    if base not in floats and exponent not in floats:
        power = rewriter.node("Round", [power])  # an exact one may come out a last bit below
    node.CopyFrom(onnx.helper.make_node("Cast", [power], node.output, to=base))


def first_of_the_least(rewriter: Rewriter, node: onnx.NodeProto) -> None:
    """Make an ArgMax or ArgMin the first index where TVM says -1.

    It does where all numbers are what its own search begins with: the least of the type.
    """
    attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    found = rewriter.node(node.op_type, list(node.input), **attributes)
    first = rewriter.constant(np.array(0, np.int64))
    node.CopyFrom(onnx.helper.make_node("Max", [found, first], node.output))


REWRITES: Mapping[str, Callable[[Rewriter, onnx.NodeProto], None]] = {
    "GatherElements": clamp_elements,
    "ScatterElements": clamp_elements,
    "GatherND": clamp_tuples,
    "ScatterND": clamp_tuples,
    "ArgMax": first_of_the_least,
    "ArgMin": first_of_the_least,
    "CumSum": sum_by_product,
    "Pow": cast_exponent,
}
