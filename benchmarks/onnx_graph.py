"""Assemble an ONNX model node by node, from weights that came in another format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

OPSET = 17
IR_VERSION = 8

Shape = Sequence[int | str]
"""Sizes; a name is one that is left open."""


class OnnxGraph:
    """A graph under construction; a node and its one output share their name."""

    def __init__(self, name: str, input_shape: Shape | None = None) -> None:
        """Begin with the input `input`, or with none.

        Args:
            name: The graph's name.
            input_shape: Of the input of floats, without the batch, which is left open.
        """
        self._name = name
        self._inputs: list[onnx.ValueInfoProto] = []
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        if input_shape is not None:
            self.input("input", input_shape)

    def input(self, name: str, shape: Shape, dtype: npt.DTypeLike = np.float32) -> str:
        """Add an input and return its name; the shape is without the batch."""
        self._inputs.append(_value(name, shape, dtype))
        return name

    def constant(self, name: str, array: npt.ArrayLike) -> str:
        """Add an initializer, once a name, and return its name."""
        if name not in self._constants:
            contiguous = np.asarray(array, order="C")
            self._constants[name] = numpy_helper.from_array(contiguous, name)
        return name

    def node(self, op_type: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Add a node and return the name of its output."""
        self._nodes.append(helper.make_node(op_type, inputs, [name], name=name, **attributes))
        return name

    def model(self, output: str, output_shape: Shape, producer: str) -> onnx.ModelProto:
        """Return the checked model.

        Args:
            output: The value that the model gives.
            output_shape: Its shape, without the batch.
            producer: What the model says of its origin.
        """
        graph = helper.make_graph(
            self._nodes,
            self._name,
            self._inputs,
            [_value(output, output_shape)],
            list(self._constants.values()),
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name=producer,
        )
        onnx.checker.check_model(model, full_check=True)
        return model


def same_pads(size: Sequence[int], kernel: Sequence[int], stride: Sequence[int]) -> list[int]:
    """Return the pads, as ONNX orders them, that make outputs of ceil(size / stride).

    TensorFlow's "same": what is odd goes to the end.
    """
    totals = [
        max((-(-length // step) - 1) * step + window - length, 0)
        for length, window, step in zip(size, kernel, stride, strict=True)
    ]
    starts = [total // 2 for total in totals]
    return starts + [total - start for total, start in zip(totals, starts, strict=True)]


def _value(name: str, shape: Shape, dtype: npt.DTypeLike = np.float32) -> onnx.ValueInfoProto:
    element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return helper.make_tensor_value_info(name, element, ["N", *shape])
