"""Give every input a fixed shape: the user's, or batch 1 where only that is free."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

import onnx

from qcompile.errors import CompileError

STANDARD_DOMAINS = ("", "ai.onnx")
UNNAMED = ("", "?")
"""What exporters write for a dimension that they have no name for."""

Shapes = Mapping[str, Sequence[int]]


def fix_input_shapes(model: onnx.ModelProto, shapes: Shapes) -> None:
    """Fix the inputs' shapes in place, and forget the shapes that follow from them.

    Args:
        model: A checked model.
        shapes: Input name -> shape; inputs that are not named keep theirs. A free first
            dimension becomes 1, and a named one ("N") what it is where it was given.

    Raises:
        CompileError: An unknown input, a shape that contradicts the model's, or an input
            whose shape stays open.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = {
        value.name: value
        for value in model.graph.input
        if value.name not in constants and value.type.HasField("tensor_type")
    }
    for name in shapes:
        if name not in inputs:
            near = difflib.get_close_matches(name, inputs, n=1)
            known = f"did you mean {near[0]!r}?" if near else f"inputs: {', '.join(inputs)}"
            raise CompileError(f"the model has no input {name!r}", where="--shape", hint=known)
    sizes: dict[str, int] = {}
    for value in inputs.values():
        if value.name not in shapes:
            _refuse_empty(value)
    for name, shape in shapes.items():
        _assign(inputs[name], shape, sizes)
    for value in inputs.values():
        if value.name not in shapes:
            _assign(value, _default_shape(value, sizes), sizes)
    _forget_shapes(model.graph, sizes)


def _refuse_empty(value: onnx.ValueInfoProto) -> None:
    """Refuse an input that says it holds nothing."""
    sizes = value.type.tensor_type.shape.dim
    if any(dim.HasField("dim_value") and dim.dim_value == 0 for dim in sizes):
        raise CompileError(
            "a dimension is 0: it holds no numbers",
            where=f"input {value.name!r}",
            hint="export the model with real sizes",
        )


def dims(value: onnx.ValueInfoProto) -> list[int | str]:
    """Return the dimensions as the file has them: sizes, names, or "?" for unknown ones."""
    return [
        dim.dim_value if dim.dim_value > 0 else dim.dim_param or "?"
        for dim in value.type.tensor_type.shape.dim
    ]


def _assign(value: onnx.ValueInfoProto, shape: Sequence[int], sizes: dict[str, int]) -> None:
    """Write a shape into an input and remember what the named dimensions became."""
    tensor = value.type.tensor_type
    if any(size < 1 for size in shape):
        raise CompileError(
            f"the shape {_text(shape)} has a dimension below 1",
            where=f"input {value.name!r}",
            hint=f"give every dimension: --shape {value.name}={_example(dims(value))}",
        )
    if tensor.HasField("shape"):
        declared = dims(value)
        fits = len(declared) == len(shape) and all(
            old == new or isinstance(old, str)
            for old, new in zip(declared, shape, strict=True)
        )
        if not fits:
            raise CompileError(
                f"the shape {_text(shape)} does not fit the model's {_text(declared)}",
                where=f"input {value.name!r}",
                hint="only dimensions that the model leaves free can be chosen",
            )
        sizes.update(
            (old, new)
            for old, new in zip(declared, shape, strict=True)
            if isinstance(old, str) and old not in UNNAMED
        )
    del tensor.shape.dim[:]
    tensor.shape.dim.extend(onnx.TensorShapeProto.Dimension(dim_value=n) for n in shape)


def _default_shape(value: onnx.ValueInfoProto, sizes: Mapping[str, int]) -> list[int]:
    """Return the shape of an input that the user does not name.

    Raises:
        CompileError: More than the batch is free.
    """
    declared = dims(value)
    shape = [sizes.get(dim, dim) if isinstance(dim, str) else dim for dim in declared]
    if shape and isinstance(shape[0], str):
        shape[0] = 1
    known = [dim for dim in shape if isinstance(dim, int)]
    if not value.type.tensor_type.HasField("shape") or len(known) < len(shape):
        what = _text(declared) if declared else "open"
        raise CompileError(
            f"the shape is {what}; a compiled model needs fixed sizes",
            where=f"input {value.name!r}",
            hint=f"fix it: --shape {value.name}={_example(declared)}",
        )
    return known


def _forget_shapes(graph: onnx.GraphProto, sizes: Mapping[str, int]) -> None:
    """Drop the shapes of all computed values, except those that only the file knows.

    ONNX infers them again from the inputs. What comes out of a foreign operator it cannot
    infer: such a shape is kept, with the named dimensions filled in.
    """
    foreign = {
        name
        for node in graph.node
        if node.domain not in STANDARD_DOMAINS
        for name in node.output
    }
    kept = [value for value in graph.value_info if value.name in foreign]
    del graph.value_info[:]
    graph.value_info.extend(kept)
    for value in (*graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        if value.name not in foreign:
            tensor.ClearField("shape")
        for dim in tensor.shape.dim if tensor.HasField("shape") else ():
            if dim.dim_param in sizes:
                dim.dim_value = sizes[dim.dim_param]
    for node in graph.node:
        for attribute in node.attribute:
            for branch in (attribute.g, *attribute.graphs):
                _forget_shapes(branch, sizes)


def _text(shape: Sequence[int | str]) -> str:
    return f"[{', '.join(str(dim) for dim in shape)}]"


def _example(declared: Sequence[int | str]) -> str:
    """Return a shape to show: 1 for the batch, 224 for whatever else is free."""
    if not declared:
        return "1,3,224,224"
    free = {position: "1" if position == 0 else "224" for position in range(len(declared))}
    return ",".join(
        free[position] if isinstance(dim, str) else str(dim)
        for position, dim in enumerate(declared)
    )
