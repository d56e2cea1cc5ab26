"""Small float networks as text, with seeded weights, for tests that compile whole models.

A family of operators a file; every file has NETS and the CONSTANTS that they name.
"""

from __future__ import annotations

import re

import numpy as np
import onnx
import onnx_ir as ir

from tests.graphs import HEADER
from tests.nets import convolutional, elementwise, floats, movers, products, recurrent

FAMILIES = (convolutional, elementwise, floats, movers, products, recurrent)

NETS: dict[str, str] = {
    name: text for family in FAMILIES for name, text in family.NETS.items()
}

CONSTANTS: dict[str, np.ndarray] = {
    name: array for family in FAMILIES for name, array in family.CONSTANTS.items()
}


def net(text: str) -> ir.Model:
    """Return the network; every graph input but x becomes a seeded random weight."""
    used = {
        name: array for name, array in CONSTANTS.items() if re.search(rf"[( ]{name}[,)]", text)
    }
    head, arrow, tail = text.partition("=>")
    types = {"float32": "float", "int64": "int64", "bool": "bool"}
    declared = "".join(
        f", {types[array.dtype.name]}[{array.size}] {name}"
        if array.ndim
        else f", {types[array.dtype.name]} {name}"
        for name, array in used.items()
    )
    head = head.rstrip().removesuffix(")") + declared + ") "
    proto = onnx.parser.parse_model(HEADER + head + arrow + tail)
    random = np.random.default_rng(0)
    weights = [value for value in proto.graph.input if value.name != "x"]
    for value in weights:
        shape = [size.dim_value for size in value.type.tensor_type.shape.dim]
        array = used.get(value.name)
        if array is None:
            fan = max(1, int(np.prod(shape[1:])))
            array = (random.standard_normal(shape) / np.sqrt(fan)).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, value.name))
        proto.graph.input.remove(value)
    for index, node in enumerate(proto.graph.node):
        node.name = f"{node.op_type}_{index}"
    onnx.checker.check_model(proto)
    return ir.from_proto(proto)


def samples(model: ir.Model, count: int, seed: int = 0) -> list[dict[str, np.ndarray]]:
    """Return inputs of the model's own shape."""
    random = np.random.default_rng(seed)
    (value,) = model.graph.inputs
    assert value.shape is not None
    shape = [int(size) for size in value.shape.numpy()]
    return [{"x": random.standard_normal(shape).astype(np.float32)} for _ in range(count)]
