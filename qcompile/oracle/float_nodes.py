"""One node of a float island, run by onnxruntime as a model of its own."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from qcompile.errors import CompileError
from qcompile.unary import unary_function

Array = npt.NDArray[np.generic]
DEFAULT_OPSET = 21
REPLACE = "replace the operator in the model, or cut the model before it"


COARSE = frozenset({"Sigmoid"})
"""What onnxruntime gives with an absolute error alone: 1e-8 where the answer is 1e-5."""


def run_float(
    node: ir.Node, inputs: Sequence[Array | None], outer: Mapping[str, Array]
) -> list[Array]:
    """Run a standard operator; an output that the node leaves out is an empty array.

    Args:
        node: The node.
        inputs: One array an input; None for an absent one.
        outer: What the node's sub-graphs read from outside, by name.

    Raises:
        CompileError: onnxruntime does not take the node or these inputs.
    """
    x = inputs[0] if inputs else None
    function = unary_function(node) if node.op_type in COARSE else None
    if function is not None and x is not None and x.dtype == np.float32:
        return [function(x.astype(np.float64)).astype(np.float32)]
    feeds = dict(outer)
    proto = ir.to_proto(node)
    for index, array in enumerate(inputs):
        proto.input[index] = "" if array is None else f"input {index}"
        if array is not None:
            feeds[proto.input[index]] = array
    names = [
        "" if value.name == "" else f"output {index}"
        for index, value in enumerate(node.outputs)
    ]
    del proto.output[:]
    proto.output.extend(names)
    where = f"node {node.name or node.outputs[0].name!r}"
    try:
        session = _session(_model(proto, feeds, node.graph).SerializeToString())
        results = iter(session.run([name for name in names if name], feeds))
    except Exception as error:  # onnxruntime's own classes share no base but this one
        reason = str(error).strip().splitlines()[-1]
        raise CompileError(
            f"onnxruntime cannot run {node.op_type}: {reason}",
            where=where,
            hint="export the model in float32"
            if any(array is not None and array.dtype == np.float64 for array in inputs)
            else REPLACE,
        ) from error
    return [np.asarray(next(results)) if name else np.empty(0) for name in names]


def _model(
    proto: onnx.NodeProto, feeds: Mapping[str, Array], graph: ir.Graph | ir.Function | None
) -> onnx.ModelProto:
    make_type = onnx.helper.np_dtype_to_tensor_dtype
    opsets = {"": DEFAULT_OPSET} if graph is None else dict(graph.opset_imports)
    return onnx.helper.make_model(
        onnx.helper.make_graph(
            [proto],
            "node",
            [
                onnx.helper.make_tensor_value_info(name, make_type(array.dtype), array.shape)
                for name, array in feeds.items()
            ],
            [onnx.ValueInfoProto(name=name) for name in proto.output if name],
        ),
        ir_version=10,
        opset_imports=[
            onnx.helper.make_opsetid(domain, version)
            for domain, version in opsets.items()
            if domain in ("", "ai.onnx", "ai.onnx.ml")
        ],
    )


@functools.lru_cache(maxsize=256)
def _session(model: bytes):  # type: ignore[no-untyped-def]  # onnxruntime has no types
    """Return a session; the same node comes with every sample, so it is built once."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
