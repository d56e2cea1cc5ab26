"""Turn an int8 TFLite network into an ONNX QDQ model with the very same integers.

Weights stay int8 with their scales, biases int32 behind a DequantizeLinear, and every
activation passes through QuantizeLinear and DequantizeLinear with TFLite's scale and zero
point: what a QDQ model looks like that another tool has quantized.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import tflite

from onnx_graph import OnnxGraph, same_pads
from qcompile.errors import CompileError

Array = npt.NDArray[np.generic]
Operator = tflite.BuiltinOperator
Activation = tflite.ActivationFunctionType

CHANNELS_FIRST = [0, 3, 1, 2]
CHANNELS_LAST = [0, 2, 3, 1]
DTYPES: dict[int, np.dtype[Any]] = {
    tflite.TensorType.INT8: np.dtype("i1"),
    tflite.TensorType.INT32: np.dtype("<i4"),
}


def tflite_to_qdq(data: bytes, name: str, producer: str) -> onnx.ModelProto:
    """Return the model: `input` channels-last in float to the last operator's output.

    Raises:
        CompileError: It has an operator that is not known here.
    """
    return _Converter(tflite.Model.GetRootAsModel(data, 0), name).convert(producer)


class _Converter:
    """Adds one operator after the other, as TFLite orders them."""

    def __init__(self, model: Any, name: str) -> None:
        self._model = model
        self._source = model.Subgraphs(0)
        self._input: int = self._source.Inputs(0)
        self._graph = OnnxGraph(name, self._shape(self._input)[1:])
        self._values: dict[int, str] = {}
        self._known = {
            Operator.CONV_2D: self._conv,
            Operator.ADD: self._add,
            Operator.AVERAGE_POOL_2D: self._average_pool,
            Operator.RESHAPE: self._flatten,
            Operator.FULLY_CONNECTED: self._gemm,
            Operator.SOFTMAX: self._softmax,
        }

    def convert(self, producer: str) -> onnx.ModelProto:
        value = self._quantized("input", self._input, "input")
        value = self._graph.node("Transpose", [value], "channels_first", perm=CHANNELS_FIRST)
        self._values[self._input] = value
        for index in range(self._source.OperatorsLength()):
            operator = self._source.Operators(index)
            code = self._model.OperatorCodes(operator.OpcodeIndex())
            kind = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
            if kind not in self._known:
                raise CompileError(f"TFLite operator {kind}", where=f"operator {index}")
            inputs = [operator.Inputs(i) for i in range(operator.InputsLength())]
            name, output = f"node{index}", operator.Outputs(0)
            value = self._known[kind](operator, inputs, name)
            self._values[output] = self._quantized(value, output, f"{name}.out")
        last = self._source.Outputs(0)
        return self._graph.model(self._values[last], self._shape(last)[1:], producer)

    def _conv(self, operator: Any, inputs: list[int], name: str) -> str:
        options = _options(tflite.Conv2DOptions, operator)
        kernel = self._shape(inputs[1])[1:3]
        value = self._graph.node(
            "Conv",
            [
                self._values[inputs[0]],
                self._constant(inputs[1], f"{name}.weight", CHANNELS_FIRST),
                self._constant(inputs[2], f"{name}.bias"),
            ],
            name,
            **self._window(options, inputs[0], kernel),
        )
        return self._activated(value, options)

    def _average_pool(self, operator: Any, inputs: list[int], name: str) -> str:
        options = _options(tflite.Pool2DOptions, operator)
        kernel = [options.FilterHeight(), options.FilterWidth()]
        window = self._window(options, inputs[0], kernel)
        return self._graph.node("AveragePool", [self._values[inputs[0]]], name, **window)

    def _window(self, options: Any, source: int, kernel: list[int]) -> dict[str, list[int]]:
        size, stride = self._shape(source)[1:3], [options.StrideH(), options.StrideW()]
        same = options.Padding() == tflite.Padding.SAME
        pads = same_pads(size, kernel, stride) if same else [0, 0, 0, 0]
        return {"kernel_shape": kernel, "strides": stride, "pads": pads}

    def _add(self, operator: Any, inputs: list[int], name: str) -> str:
        value = self._graph.node("Add", [self._values[each] for each in inputs], name)
        return self._activated(value, _options(tflite.AddOptions, operator))

    def _flatten(self, operator: Any, inputs: list[int], name: str) -> str:
        value = self._values[inputs[0]]
        value = self._graph.node("Transpose", [value], f"{name}.last", perm=CHANNELS_LAST)
        return self._graph.node("Flatten", [value], name, axis=1)

    def _gemm(self, operator: Any, inputs: list[int], name: str) -> str:
        weight = self._constant(inputs[1], f"{name}.weight")
        bias = self._constant(inputs[2], f"{name}.bias")
        gemm = [self._values[inputs[0]], weight, bias]
        value = self._graph.node("Gemm", gemm, name, transB=1)
        return self._activated(value, _options(tflite.FullyConnectedOptions, operator))

    def _softmax(self, operator: Any, inputs: list[int], name: str) -> str:
        return self._graph.node("Softmax", [self._values[inputs[0]]], name, axis=-1)

    def _activated(self, value: str, options: Any) -> str:
        kind = options.FusedActivationFunction()
        if kind == Activation.NONE:
            return value
        if kind != Activation.RELU:
            raise CompileError(f"TFLite activation {kind}", where=value)
        return self._graph.node("Relu", [value], f"{value}.relu")

    def _quantized(self, value: str, tensor: int, name: str) -> str:
        """Put a value on a tensor's grid."""
        scales, zero_points, _ = self._grid(tensor)
        scale = self._graph.constant(f"{name}.scale", scales[0])
        zero_point = self._graph.constant(f"{name}.zero_point", zero_points[0])
        grid = [scale, zero_point]
        integers = self._graph.node("QuantizeLinear", [value, *grid], f"{name}.quantized")
        return self._graph.node("DequantizeLinear", [integers, *grid], f"{name}.dequantized")

    def _constant(self, tensor: int, name: str, order: list[int] | None = None) -> str:
        """Add a constant tensor, its axes in that order, behind a DequantizeLinear."""
        source = self._source.Tensors(tensor)
        data = self._model.Buffers(source.Buffer()).DataAsNumpy().tobytes()
        array = np.frombuffer(data, DTYPES[source.Type()]).reshape(self._shape(tensor))
        scales, zero_points, axis = self._grid(tensor)
        if order is not None:
            array, axis = array.transpose(order), order.index(axis)
        single = len(scales) == 1
        inputs = [
            self._graph.constant(f"{name}.integers", array),
            self._graph.constant(f"{name}.scale", scales[0] if single else scales),
            self._graph.constant(
                f"{name}.zero_point", zero_points[0] if single else zero_points
            ),
        ]
        attributes = {} if single else {"axis": axis}
        return self._graph.node("DequantizeLinear", inputs, name, **attributes)

    def _grid(self, tensor: int) -> tuple[Array, Array, int]:
        source = self._source.Tensors(tensor)
        grid = source.Quantization()
        zero_points = grid.ZeroPointAsNumpy().astype(DTYPES[source.Type()])
        return grid.ScaleAsNumpy().astype(np.float32), zero_points, grid.QuantizedDimension()

    def _shape(self, tensor: int) -> list[int]:
        return [int(size) for size in self._source.Tensors(tensor).ShapeAsNumpy()]


def _options(kind: Any, operator: Any) -> Any:
    """Return an operator's options as the type that they are."""
    options, table = kind(), operator.BuiltinOptions()
    options.Init(table.Bytes, table.Pos)
    return options
