"""Read an ONNX file whole, and refuse what is no valid float32 model, in one line."""

from __future__ import annotations

import math
import os
from pathlib import Path

import onnx
import onnx.external_data_helper as external
import onnx.numpy_helper
import onnx_ir as ir
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from qcompile.errors import CompileError
from qcompile.importer.opset import one_line

Source = Path | str | onnx.ModelProto | ir.Model

TYPED = {
    onnx.TensorProto.FLOAT: "float_data",
    onnx.TensorProto.DOUBLE: "double_data",
    onnx.TensorProto.INT64: "int64_data",
} | dict.fromkeys(
    (
        onnx.TensorProto.INT32,
        onnx.TensorProto.INT16,
        onnx.TensorProto.INT8,
        onnx.TensorProto.UINT16,
        onnx.TensorProto.UINT8,
        onnx.TensorProto.BOOL,
    ),
    "int32_data",
)
"""Where a tensor keeps its numbers if not as raw bytes."""

EXPORT_AGAIN = "export it again, or copy it again in binary mode"


def read_model(source: Source) -> onnx.ModelProto:
    """Return the checked model of a file, weights loaded, or a checked copy of one in memory.

    Raises:
        CompileError: It cannot be read, is not ONNX, is invalid or computes in float16.
    """
    if isinstance(source, ir.Model):
        model = ir.to_proto(source)
    elif isinstance(source, onnx.ModelProto):
        model = onnx.ModelProto()
        model.CopyFrom(source)
    else:
        model = read_file(Path(source))
    check_model(model)
    _refuse_half(model)
    return model


def read_file(path: Path) -> onnx.ModelProto:
    """Return the model of a file, weights loaded, not checked.

    Raises:
        CompileError: It cannot be read or is not ONNX.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise CompileError("no such file") from error
    except OSError as error:
        raise CompileError(f"cannot be read: {os.strerror(error.errno or 0)}") from error
    if not data:
        raise CompileError("the file is empty", hint="export the model again")
    try:
        model = onnx.load_model_from_string(data, format="protobuf")
    except DecodeError as error:
        raise CompileError("not an ONNX model, or cut off", hint=EXPORT_AGAIN) from error
    try:
        external.load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise CompileError(
            f"its external data cannot be read: {one_line(error)}",
            hint="keep the data file beside the model, under the name the model has for it",
        ) from error
    return model


def check_model(model: onnx.ModelProto) -> None:
    """Refuse what is not a valid ONNX model.

    Raises:
        CompileError: Says what is wrong with it.
    """
    if not model.HasField("graph") or not model.ir_version:
        raise CompileError("not an ONNX model, or cut off", hint=EXPORT_AGAIN)
    if any(external.uses_external_data(tensor) for tensor in model.graph.initializer):
        raise CompileError(
            "its weights lie in a file that was not loaded",
            hint="give the path of the file, or onnx.load it with its external data",
        )
    try:
        onnx.checker.check_model(model)
        _check_lengths(model.graph)
    except (onnx.checker.ValidationError, ValueError) as error:
        raise CompileError(
            f"not a valid ONNX model: {one_line(error)}",
            hint="export it again; onnx.checker.check_model shows the whole message",
        ) from error
    _check_sizes(model)


def _check_lengths(graph: onnx.GraphProto) -> None:
    """Refuse constants with more or fewer numbers than their shapes say.

    Raises:
        ValueError: Names the first; the checker of onnx looks at raw bytes only.
    """
    tensors = list(graph.initializer)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _check_lengths(attribute.g)
            tensors += [attribute.t] if attribute.HasField("t") else []
    for tensor in tensors:
        if tensor.data_type in TYPED and not tensor.HasField("raw_data"):
            held = len(getattr(tensor, TYPED[tensor.data_type]))
            if held != math.prod(tensor.dims):
                raise ValueError(f"{tensor.name!r} holds {held} numbers for {tensor.dims}")


def _check_sizes(model: onnx.ModelProto) -> None:
    """Refuse weights with more or fewer bytes than their shape and type say."""
    for tensor in model.graph.initializer:
        try:
            onnx.numpy_helper.to_array(tensor)
        except Exception as error:
            raise CompileError(
                f"its numbers cannot be read: {one_line(error)}",
                where=f"constant {tensor.name!r}",
                hint=EXPORT_AGAIN,
            ) from error


def _refuse_half(model: onnx.ModelProto) -> None:
    """Refuse a model that computes in 16-bit floats."""
    half = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
    values = [(value.name, value.type.tensor_type.elem_type) for value in model.graph.input]
    values += [(tensor.name, tensor.data_type) for tensor in model.graph.initializer]
    for name, dtype in values:
        if dtype in half:
            raise CompileError(
                f"{onnx.TensorProto.DataType.Name(dtype).lower()} models are not supported",
                where=f"value {name!r}",
                hint="export the model in float32",
            )
