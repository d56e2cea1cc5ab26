"""Refuse tensors that no memory would hold, before anything is made of their shapes."""

from __future__ import annotations

import math

import onnx
import onnx.shape_inference
import onnx_ir as ir

from qcompile.errors import CompileError
from qcompile.importer.opset import one_line

MOST_ELEMENTS = 1 << 28
"""Of one tensor: 1 GiB of float32."""

FEW_ELEMENTS = 1 << 10
"""A constant with more of them is data and no shape."""


def refuse_huge_sizes(model: onnx.ModelProto) -> None:
    """Refuse a model that declares a huge tensor.

    onnx's inference with data propagation makes a list of every dimension that it knows, and
    so would run out of memory itself; without it only shapes are computed.

    Raises:
        CompileError: Names the tensor and its size; or its types are no types.
    """
    try:
        graph = onnx.shape_inference.infer_shapes(_without_data(model)).graph
    except (onnx.shape_inference.InferenceError, ValueError) as error:
        raise CompileError(
            f"not a valid ONNX model: {one_line(error)}", hint="export it again"
        ) from error
    for value in (*graph.input, *graph.value_info, *graph.output):
        sizes = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        refuse_huge(value.name, sizes, f"value {value.name!r}")


def refuse_huge(name: str, shape: ir.Shape | list[int] | None, where: str) -> None:
    """Refuse one tensor with too many elements; open dimensions count as none.

    Raises:
        CompileError: Names the tensor and its size.
    """
    count = math.prod(max(size, 1) for size in shape or () if isinstance(size, int))
    if count > MOST_ELEMENTS:
        raise CompileError(
            f"{name!r} has {count:.3g} elements, and at most {MOST_ELEMENTS:.3g} can be",
            where=where,
            hint="export the model with real sizes",
        )


def _without_data(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy whose large constants are declared, and not there; so are no results."""
    copy = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    graph = model.graph
    stored = {tensor.name for tensor in graph.initializer}
    copy.graph.node.extend(graph.node)
    copy.graph.input.extend(value for value in graph.input if value.name not in stored)
    copy.graph.output.extend(onnx.ValueInfoProto(name=value.name) for value in graph.output)
    for tensor in graph.initializer:
        if math.prod(tensor.dims) <= FEW_ELEMENTS:
            copy.graph.initializer.append(tensor)
        else:
            copy.graph.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    return copy
