"""Replace operators by the function bodies that ONNX itself defines them with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import onnx
from onnx import defs, inliner, shape_inference

DOMAIN = "qcompile.expanded"
"""Where the calls stand between being marked and being inlined."""

DEEPEST = 8
"""How often a body may hold another operator to expand."""

STANDARD = ("", "ai.onnx")


def expand(
    model: onnx.ModelProto, wanted: Callable[[onnx.NodeProto], bool]
) -> onnx.ModelProto:
    """Return the model with the wanted nodes replaced by their definitions, all the way down.

    A node stays as it is where ONNX defines it in words only. The model itself is not changed.

    Args:
        model: Any model without functions of its own; sub-graphs are left alone.
        wanted: Which nodes of the standard domain to replace.

    Raises:
        Exception: Of many types: the model is not valid.
    """
    for _ in range(DEEPEST):
        nodes = [node for node in model.graph.node if node.domain in STANDARD and wanted(node)]
        if not nodes:
            break
        model, expanded = _expand_once(model, wanted)
        if not expanded:
            break
    return model


def _expand_once(
    model: onnx.ModelProto, wanted: Callable[[onnx.NodeProto], bool]
) -> tuple[onnx.ModelProto, bool]:
    version = next(each.version for each in model.opset_import if each.domain in STANDARD)
    inferred = shape_inference.infer_shapes(model)
    types = _types(inferred.graph)
    marked = onnx.ModelProto()
    marked.CopyFrom(model)
    for index, node in enumerate(marked.graph.node):
        if node.domain not in STANDARD or not wanted(node):
            continue
        body = _body(node, version, types)
        if body is None:
            continue
        body.domain, body.name = DOMAIN, f"{node.op_type}_{index}"
        _fill_defaults(node, version)
        node.domain, node.op_type = body.domain, body.name
        marked.functions.append(body)
    if not marked.functions:
        return model, False
    marked.opset_import.append(onnx.helper.make_opsetid(DOMAIN, 1))
    return without_domain(inliner.inline_local_functions(marked)), True


def without_domain(model: onnx.ModelProto) -> onnx.ModelProto:
    """Take the import of DOMAIN out again, now that its calls are inlined."""
    kept = [each for each in model.opset_import if each.domain != DOMAIN]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    return model


def _body(
    node: onnx.NodeProto, version: int, types: dict[str, onnx.TypeProto]
) -> onnx.FunctionProto | None:
    """Return a copy of the definition of a node, or None where there is none."""
    if not defs.has(node.op_type, version, ""):
        return None
    schema: Any = defs.get_schema(node.op_type, version, "")  # its stubs are incomplete
    body = onnx.FunctionProto()
    opset = _newest(schema.function_opset_versions, version)
    if opset is not None:
        body.ParseFromString(schema.get_function_with_opset_version(opset))
        return _under(body, version)
    opset = _newest(schema.context_dependent_function_opset_versions, version)
    if opset is None:
        return None
    inputs = [types.get(name, onnx.TypeProto()).SerializeToString() for name in node.input]
    body.ParseFromString(
        schema.get_context_dependent_function_with_opset_version(
            opset, node.SerializeToString(), inputs
        )
    )
    return _under(body, version) if body.node else None


def _under(body: onnx.FunctionProto, version: int) -> onnx.FunctionProto | None:
    """Return the definition under the model's opset, or None where an operator differs."""
    for each in body.opset_import:
        if each.domain not in STANDARD:
            continue
        if not all(same_operator(node.op_type, version, each.version) for node in body.node):
            return None
        each.version = version
    return body


def same_operator(op_type: str, newer: int, older: int) -> bool:
    """Whether what is written for the older opset means the same under the newer one.

    Most operators change in the types they take only, or gain an attribute whose default is
    what was before.
    """
    if not (defs.has(op_type, newer, "") and defs.has(op_type, older, "")):
        return False
    old, new = defs.get_schema(op_type, older, ""), defs.get_schema(op_type, newer, "")
    return (
        _attributes(old).items() <= _attributes(new).items()
        and old.min_input == new.min_input
        and old.max_input == new.max_input
        and old.max_output == new.max_output
    )


def _attributes(schema: defs.OpSchema) -> dict[str, tuple[object, bytes]]:
    return {
        name: (attribute.type, attribute.default_value.SerializeToString())
        for name, attribute in schema.attributes.items()
    }


def _newest(versions: Sequence[int], version: int) -> int | None:
    """Return under which opset a definition for a model of this opset is written."""
    return max((each for each in versions if each <= version), default=None)


def _fill_defaults(node: onnx.NodeProto, version: int) -> None:
    """Give the call the attributes that it leaves at their defaults: the body reads them."""
    given = {attribute.name for attribute in node.attribute}
    for name, attribute in defs.get_schema(node.op_type, version, "").attributes.items():
        if name not in given and attribute.default_value.type:
            node.attribute.append(attribute.default_value)


def _types(graph: onnx.GraphProto) -> dict[str, onnx.TypeProto]:
    types = {
        value.name: value.type for value in (*graph.input, *graph.value_info, *graph.output)
    }
    for tensor in graph.initializer:
        types[tensor.name] = onnx.helper.make_tensor_type_proto(tensor.data_type, tensor.dims)
    return types
