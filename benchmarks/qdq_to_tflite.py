"""Write the int8 TFLite file of a QDQ model in which every value has its scale.

For the operators that the measured networks have: Conv (dense and depthwise), Add, Gemm,
GlobalAveragePool and Flatten, as onnxruntime's `quantize_static` leaves them with int8
activations: ReLUs are gone into the ranges.
"""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
import onnx
from ai_edge_litert import schema_py_generated as tfl
from onnx import numpy_helper

from qcompile.errors import CompileError

Array = npt.NDArray[Any]
Operator, Options = tfl.BuiltinOperator, tfl.BuiltinOptions
TYPES = {"int8": tfl.TensorType.INT8, "int32": tfl.TensorType.INT32}
FLOAT = tfl.TensorType.FLOAT32
CHANNELS_LAST = (0, 2, 3, 1)


def qdq_to_tflite(model: onnx.ModelProto) -> bytes:
    """Return the file: the input in float, channels last, to the output in float.

    Raises:
        CompileError: It has an operator that is not known here.
    """
    return _Converter(onnx.shape_inference.infer_shapes(model).graph).convert()


class _Converter:
    """Adds one operator after the other; a value is known by its quantized name."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._file = _File()
        self._constants = {each.name: each for each in graph.initializer}
        self._makers = {output: node for node in graph.node for output in node.output}
        self._quantizers = {
            node.input[0]: node for node in graph.node if node.op_type == "QuantizeLinear"
        }
        self._values: dict[str, int] = {}
        self._shapes: dict[str, list[int]] = {}
        self._known = {
            "Conv": self._conv,
            "Add": self._add,
            "GlobalAveragePool": self._mean,
            "Flatten": self._flatten,
            "Gemm": self._gemm,
        }

    def convert(self) -> bytes:
        (source,), (target,) = self._graph.input, self._graph.output
        batch, channels, *image = (
            each.dim_value for each in source.type.tensor_type.shape.dim
        )
        shape = [batch or 1, *image, channels]
        first = self._file.tensor(source.name, shape, FLOAT)
        self._emit(Operator.QUANTIZE, [first], self._output(source.name, shape), None)
        for node in self._graph.node:
            if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
                continue
            if node.op_type not in self._known:
                raise CompileError(f"operator {node.op_type}", where=node.name)
            self._known[node.op_type](node)
        value = self._makers[target.name].input[0]
        last = self._file.tensor(target.name, self._shapes[value], FLOAT)
        self._emit(Operator.DEQUANTIZE, [self._values[value]], last, None)
        return self._file.finish(first, last)

    def _conv(self, node: onnx.NodeProto) -> None:
        attributes = _attributes(node)
        depthwise = attributes.get("group", 1) > 1
        w, scale = self._weights(node.input[1])
        if depthwise and w.shape[1] != 1:
            raise CompileError("a grouped Conv that is not depthwise", where=node.name)
        w = w.transpose((1, 2, 3, 0) if depthwise else (0, 2, 3, 1))
        x, shape = self._value(node.input[0])
        strides, pads = attributes["strides"], attributes["pads"]
        kernel = w.shape[1:3]
        same = _same_pads(shape[1:3], kernel, strides)
        if pads not in (same, [0, 0, 0, 0]):
            x, shape = self._padded(x, shape, pads, node.name)
            pads = [0, 0, 0, 0]
        options = tfl.DepthwiseConv2DOptionsT() if depthwise else tfl.Conv2DOptionsT()
        if depthwise:
            options.depthMultiplier = 1
        options.padding = tfl.Padding.SAME if pads == same else tfl.Padding.VALID
        options.strideH, options.strideW = strides
        options.dilationHFactor = options.dilationWFactor = 1
        image = [
            (shape[1 + i] + pads[i] + pads[2 + i] - kernel[i]) // strides[i] + 1
            for i in range(2)
        ]
        code = Operator.DEPTHWISE_CONV_2D if depthwise else Operator.CONV_2D
        output = self._output(node.output[0], [shape[0], *image, len(scale)])
        inputs = [x, self._constant(node.input[1], w, scale, 3 if depthwise else 0)]
        inputs.append(self._bias(node.input[2]))
        self._emit(code, inputs, output, options, version=3)

    def _padded(
        self, x: int, shape: list[int], pads: list[int], name: str
    ) -> tuple[int, list[int]]:
        amounts = np.array([[0, 0], pads[::2], pads[1::2], [0, 0]], np.int32)
        padded = [size + int(sum(both)) for size, both in zip(shape, amounts, strict=True)]
        output = self._file.tensor(f"{name}.padded", padded, TYPES["int8"])
        self._file.same_quantization(output, x)
        constant = self._file.constant(f"{name}.pads", amounts)
        self._emit(Operator.PAD, [x, constant], output, tfl.PadOptionsT(), version=2)
        return output, padded

    def _add(self, node: onnx.NodeProto) -> None:
        (a, shape), (b, _) = (self._value(name) for name in node.input)
        output = self._output(node.output[0], shape)
        self._emit(Operator.ADD, [a, b], output, tfl.AddOptionsT(), version=2)

    def _mean(self, node: onnx.NodeProto) -> None:
        x, shape = self._value(node.input[0])
        axes = self._file.constant(f"{node.name}.axes", np.array([1, 2], np.int32))
        options = tfl.ReducerOptionsT()
        options.keepDims = True
        output = self._output(node.output[0], [shape[0], 1, 1, shape[3]])
        self._emit(Operator.MEAN, [x, axes], output, options, version=2)

    def _flatten(self, node: onnx.NodeProto) -> None:
        x, (batch, height, width, channels) = self._value(node.input[0])
        if (height, width) != (1, 1):
            raise CompileError("a Flatten of an image: its order differs", where=node.name)
        options = tfl.ReshapeOptionsT()
        options.newShape = [batch, channels]
        output = self._output(node.output[0], options.newShape)
        shape = self._file.constant(f"{node.name}.shape", np.array(options.newShape, np.int32))
        self._emit(Operator.RESHAPE, [x, shape], output, options)

    def _gemm(self, node: onnx.NodeProto) -> None:
        w, scale = self._weights(node.input[1])
        if not _attributes(node).get("transB", 0):
            w = np.ascontiguousarray(w.T)
        x, (batch, _) = self._value(node.input[0])
        output = self._output(node.output[0], [batch, len(w)])
        inputs = [x, self._constant(node.input[1], w, scale, 0), self._bias(node.input[2])]
        version = 12 if len(scale) > 1 else 4
        self._emit(
            Operator.FULLY_CONNECTED, inputs, output, tfl.FullyConnectedOptionsT(), version
        )

    def _value(self, name: str) -> tuple[int, list[int]]:
        """Return the tensor and the shape of a value that a DequantizeLinear gives."""
        stored = self._makers[name].input[0]
        return self._values[stored], self._shapes[stored]

    def _output(self, name: str, shape: list[int]) -> int:
        """Add the tensor of a value that goes into a QuantizeLinear."""
        node = self._quantizers[name]
        scale, zero_point = (self._array(each) for each in node.input[1:])
        if zero_point.dtype != np.int8:
            raise CompileError(f"is {zero_point.dtype}, not int8", where=name)
        tensor = self._file.tensor(name, shape, TYPES["int8"])
        self._file.quantization(tensor, scale, int(zero_point))
        self._values[node.output[0]], self._shapes[node.output[0]] = tensor, shape
        return tensor

    def _weights(self, name: str) -> tuple[Array, Array]:
        """Return the integers and the scales behind a DequantizeLinear."""
        stored, scale, *_ = self._makers[name].input
        return self._array(stored), np.atleast_1d(self._array(scale))

    def _constant(self, name: str, array: Array, scale: Array, axis: int) -> int:
        tensor = self._file.constant(name, array)
        self._file.quantization(tensor, scale, 0, axis)
        return tensor

    def _bias(self, name: str) -> int:
        bias, scale = self._weights(name)
        return self._constant(name, bias, scale, 0)

    def _array(self, name: str) -> Array:
        return numpy_helper.to_array(self._constants[name])

    def _emit(
        self, code: int, inputs: list[int], output: int, options: Any, version: int = 1
    ) -> None:
        self._file.operator(code, version, inputs, output, options)


class _File:
    """The tables of a TFLite file."""

    def __init__(self) -> None:
        self._buffers = [tfl.BufferT()]
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        self._codes: dict[int, Any] = {}

    def tensor(self, name: str, shape: list[int], kind: int) -> int:
        """Add a tensor and return its number."""
        tensor = tfl.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name.encode(), shape, kind, 0
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def constant(self, name: str, array: Array) -> int:
        """Add a tensor that holds an array."""
        number = self.tensor(name, list(array.shape), TYPES[array.dtype.name])
        buffer = tfl.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)
        self._buffers.append(buffer)
        self._tensors[number].buffer = len(self._buffers) - 1
        return number

    def quantization(self, number: int, scale: Array, zero_point: int, axis: int = 0) -> None:
        """Give a tensor its scales."""
        given = tfl.QuantizationParametersT()
        given.scale = np.atleast_1d(scale).astype(np.float32)
        given.zeroPoint = np.full(given.scale.shape, zero_point, np.int64)
        given.quantizedDimension = axis
        self._tensors[number].quantization = given

    def same_quantization(self, number: int, other: int) -> None:
        """Give a tensor the scales of another."""
        self._tensors[number].quantization = self._tensors[other].quantization

    def operator(
        self, code: int, version: int, inputs: list[int], output: int, options: Any
    ) -> None:
        """Add an operator; its options' class says which they are."""
        operator = tfl.OperatorT()
        operator.opcodeIndex = self._code(code, version)
        operator.inputs, operator.outputs = inputs, [output]
        if options is not None:
            operator.builtinOptions = options
            operator.builtinOptionsType = getattr(Options, type(options).__name__[:-1])
        self._operators.append(operator)

    def finish(self, source: int, target: int) -> bytes:
        """Return the file."""
        graph = tfl.SubGraphT()
        graph.tensors, graph.operators = self._tensors, self._operators
        graph.inputs, graph.outputs = [source], [target]
        model = tfl.ModelT()
        model.version, model.buffers, model.subgraphs = 3, self._buffers, [graph]
        model.operatorCodes = list(self._codes.values())
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())

    def _code(self, code: int, version: int) -> int:
        if code not in self._codes:
            made = tfl.OperatorCodeT()
            made.builtinCode, made.deprecatedBuiltinCode = code, min(code, 127)
            made.version = version
            self._codes[code] = made
        return list(self._codes).index(code)


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}


def _same_pads(image: list[int], kernel: tuple[int, ...], strides: list[int]) -> list[int]:
    """Return what TFLite's SAME pads: the odd one at the end."""
    totals = [
        max((-(-size // stride) - 1) * stride + k - size, 0)
        for size, k, stride in zip(image, kernel, strides, strict=True)
    ]
    return [total // 2 for total in totals] + [total - total // 2 for total in totals]
