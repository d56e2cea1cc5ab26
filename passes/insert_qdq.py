"""Write the chosen schemes into the graph as QuantizeLinear and DequantizeLinear nodes."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qcompile.graphs.rewriting import Names
from qcompile.quant import QParams
from qcompile.regions import constant
from qcompile.schemes.claims import INPUT_QPARAMS, QPARAMS
from qcompile.schemes.placement import output_axis
from qcompile.schemes.weight_scheme import bias_scale, bias_steps


@dataclasses.dataclass(frozen=True)
class InsertQdq(ir.passes.InPlacePass):
    """Put `DequantizeLinear(QuantizeLinear(x))` for every x that has `meta["qparams"]`.

    activation: every reader gets the dequantized value; a graph output keeps its name
    one input:  `meta["input_qparams"]` of a node says what it alone reads, on top of that
    constant:   DequantizeLinear of an integer initializer, with the channel axis
    bias:       the third input of a Conv or Gemm whose data and weight have parameters:
                DequantizeLinear of an int32 initializer with scale s_x * s_w

    The result is standard ONNX that any runtime runs. The parameters are taken off the
    values, so a second run changes nothing. A bias that a separate Add brings stays float.

    ChooseSchemes writes the parameters; so can any caller, for a value x of the graph:

        x.meta["qparams"] = QParams(U8, np.array(0.5, np.float32), np.array(3, np.uint8))
        InsertQdq()(model)
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Return the model and whether any pair was inserted."""
        names = Names(model)
        modified = False
        for node in list(model.graph):
            modified |= _quantize_bias(node, names) | _drop_default_dilations(node)
        for value in list(model.graph.initializers.values()):
            modified |= _quantize_constant(value, model.graph, names)
        computed = [value for node in model.graph for value in node.outputs]
        for value in [*model.graph.inputs, *computed]:
            modified |= _quantize_activation(value, model.graph, names)
        for node in list(model.graph):
            modified |= _quantize_inputs(node, names)
        return ir.passes.PassResult(model, modified)


def _quantize_bias(node: ir.Node, names: Names) -> bool:
    if node.op_type not in ("Conv", "Gemm") or len(node.inputs) < 3 or node.graph is None:
        return False
    x, weight, value = node.inputs[:3]
    matrix, bias = constant(weight), constant(value)
    if x is None or weight is None or value is None or matrix is None or bias is None:
        return False
    x_qparams, qparams = x.meta.get(QPARAMS), weight.meta.get(QPARAMS)
    if x_qparams is None or qparams is None:
        return False
    row = np.broadcast_to(bias.ravel(), (matrix.shape[output_axis(node)],))
    scale = bias_scale(x_qparams, qparams)
    steps = bias_steps(row, scale).astype(np.int32)
    name = f"{node.name}_bias"
    dequantized = _dequantized_constant(node.graph, name, steps, [scale], 0, names)
    node.graph.insert_before(node, _producer(dequantized))
    node.replace_input_with(2, dequantized)
    _drop_unused(value, node.graph)
    return True


def _drop_default_dilations(node: ir.Node) -> bool:
    """Leave `dilations=[1, 1]` unsaid on an AveragePool of a quantized value.

    onnxruntime 1.32 fuses it into a QLinearAveragePool, copies the attribute, and then refuses
    its own node for it.
    """
    value = node.inputs[0] if node.op_type == "AveragePool" else None
    if value is None or QPARAMS not in value.meta:
        return False
    if set(node.attributes.get_ints("dilations", (2,))) != {1}:
        return False
    del node.attributes["dilations"]
    return True


def _quantize_constant(value: ir.Value, graph: ir.Graph, names: Names) -> bool:
    qparams: QParams | None = value.meta.pop(QPARAMS, None)
    array = constant(value)
    if qparams is None or array is None:
        return False
    readers = {use.node for use in value.uses()}
    first = next((node for node in graph if node in readers), None)
    if first is None:
        return False
    integers = qparams.quantize(array.astype(np.float32))
    parameters = [qparams.scale, qparams.zero_point]
    dequantized = _dequantized_constant(
        graph, str(value.name), integers, parameters, qparams.axis, names
    )
    graph.insert_before(first, _producer(dequantized))
    value.replace_all_uses_with(dequantized)
    _drop_unused(value, graph)
    return True


def _quantize_activation(value: ir.Value, graph: ir.Graph, names: Names) -> bool:
    qparams: QParams | None = value.meta.pop(QPARAMS, None)
    if qparams is None:
        return False
    quantize, dequantize = _pair(value, str(value.name), qparams, graph, names)
    producer = value.producer()
    if producer is None:
        graph.insert_before(graph[0], [quantize, dequantize])
    else:
        graph.insert_after(producer, [quantize, dequantize])
    _replace_readers(value, quantize, dequantize.outputs[0], names)
    return True


def _quantize_inputs(node: ir.Node, names: Names) -> bool:
    inputs: dict[int, QParams] = node.meta.pop(INPUT_QPARAMS, {})
    for index, qparams in inputs.items():
        value = node.inputs[index]
        assert value is not None
        assert node.graph is not None
        name = f"{node.outputs[0].name}_input_{index}"
        pair = _pair(value, name, qparams, node.graph, names)
        node.graph.insert_before(node, pair)
        node.replace_input_with(index, pair[1].outputs[0])
    return bool(inputs)


def _pair(
    value: ir.Value, name: str, qparams: QParams, graph: ir.Graph, names: Names
) -> tuple[ir.Node, ir.Node]:
    """Return a QuantizeLinear of a value and its DequantizeLinear, not yet in the graph."""
    scale = names.initializer(graph, f"{name}_scale", qparams.scale)
    zero_point = names.initializer(graph, f"{name}_zero_point", qparams.zero_point)
    quantize = names.node(
        "QuantizeLinear", [value, scale, zero_point], name=f"{name}_q", like=value
    )
    integers = quantize.outputs[0]
    integers.dtype = qparams.spec.dtype
    dequantize = names.node(
        "DequantizeLinear", [integers, scale, zero_point], name=f"{name}_dq", like=value
    )
    dequantize.outputs[0].dtype = ir.DataType.FLOAT
    return quantize, dequantize


def _replace_readers(
    value: ir.Value, quantize: ir.Node, dequantized: ir.Value, names: Names
) -> None:
    """Let everything but `quantize` read the dequantized value; the output keeps its name."""
    readers = [use for use in value.uses() if use.node is not quantize]
    for node, index in readers:
        node.replace_input_with(index, dequantized)
    if value.is_graph_output() and not value.is_graph_input():
        value.name, dequantized.name = names.unique(f"{value.name}_float"), value.name
        value.replace_all_uses_with(dequantized, replace_graph_outputs=True)
        quantize.replace_input_with(0, value)


def _dequantized_constant(
    graph: ir.Graph,
    name: str,
    integers: npt.NDArray[np.generic],
    parameters: list[npt.NDArray[np.generic]],
    axis: int | None,
    names: Names,
) -> ir.Value:
    """Return the output of a DequantizeLinear, not yet in the graph, of an initializer."""
    stored = names.initializer(graph, f"{name}_quantized", integers)
    suffixes = ("scale", "zero_point")
    inputs = [
        names.initializer(graph, f"{name}_{suffix}", array)
        for suffix, array in zip(suffixes, parameters, strict=False)
    ]
    attributes = {} if axis is None or not parameters[0].ndim else {"axis": axis}
    node = names.node(
        "DequantizeLinear", [stored, *inputs], attributes, name=f"{name}_dq", like=stored
    )
    node.outputs[0].dtype = ir.DataType.FLOAT
    return node.outputs[0]


def _producer(value: ir.Value) -> ir.Node:
    node = value.producer()
    assert node is not None
    return node


def _drop_unused(value: ir.Value, graph: ir.Graph) -> None:
    if value.is_initializer() and not value.uses() and not value.is_graph_output():
        del graph.initializers[str(value.name)]
