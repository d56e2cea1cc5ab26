"""Small models in foreign quantized forms, and what qcompile and onnxruntime make of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from qcompile import oracle
from qcompile.compiler import float_passes, integer_passes
from qcompile.config import CompileConfig
from qcompile.importer.load_model import load_model
from qcompile.pipeline import run_passes
from qcompile.targets import find_target

Array = npt.NDArray[Any]
CONTRIB = "com.microsoft"


@dataclasses.dataclass
class Foreign:
    """Builds a model with the float input `x`, node by node.

    Attributes:
        x_shape: Shape of `x`.
        opset: Of the standard domain.
    """

    x_shape: Sequence[int]
    opset: int = 21

    def __post_init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []

    def constant(self, array: npt.ArrayLike, dtype: int | None = None) -> str:
        """Add an initializer; `dtype` says which type of less than 8 bits it has."""
        name = f"c{len(self.tensors)}"
        array = np.asarray(array)
        if dtype is None:
            self.tensors.append(numpy_helper.from_array(array, name))
        else:
            flat = array.reshape(-1).tolist()
            self.tensors.append(helper.make_tensor(name, dtype, array.shape, flat))
        return name

    def grid(self, scale: npt.ArrayLike, zero_point: npt.ArrayLike, dtype: str) -> list[str]:
        """Add a scale and a zero point."""
        zeros = np.broadcast_to(np.asarray(zero_point, dtype), np.shape(scale))
        return [self.constant(np.asarray(scale, "f4")), self.constant(zeros)]

    def node(self, op_type: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Add a node and return its output."""
        name = f"{op_type.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, inputs, [name], name=name, **attributes))
        return name

    def contrib(self, op_type: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Add a node of onnxruntime's domain."""
        return self.node(op_type, inputs, domain=CONTRIB, **attributes)

    def quantize(self, x: str, grid: Sequence[str]) -> str:
        """Add a QuantizeLinear."""
        return self.node("QuantizeLinear", [x, *grid])

    def model(self, y: str, dtype: int = TensorProto.FLOAT) -> onnx.ModelProto:
        """Return the model with the output `y`."""
        proto = helper.make_model(
            helper.make_graph(
                self.nodes,
                "g",
                [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.x_shape)],
                [helper.make_tensor_value_info(y, dtype, None)],
                self.tensors,
            ),
            opset_imports=[
                helper.make_opsetid("", self.opset),
                helper.make_opsetid(CONTRIB, 1),
            ],
            ir_version=10,
        )
        # The checker wants a shape, and only the runtime that knows the form can tell it.
        proto.graph.output[0].type.tensor_type.ClearField("shape")
        answer = run_onnxruntime(proto, np.zeros(self.x_shape, "f4"))
        proto.graph.output[0].CopyFrom(helper.make_tensor_value_info(y, dtype, answer.shape))
        return proto


def imported(proto: onnx.ModelProto) -> ir.Model:
    """Return the integer graph of a quantized model for a target with VNNI."""
    target, config = find_target("x86-vnni"), CompileConfig()
    model = run_passes(load_model(proto), float_passes())
    return run_passes(model, integer_passes(target, config))


def run_oracle(model: ir.Model, x: Array) -> Array:
    """Run an integer graph in the oracle; its float nodes as they stand."""
    return np.asarray(next(iter(oracle.run(model, {"x": x}).values())))


def run_onnxruntime(proto: onnx.ModelProto, x: Array) -> Array:
    """Run the foreign model as it stands, without fusions."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    return np.asarray(session.run(None, {"x": x})[0])


def kinds(model: ir.Model) -> Mapping[str, int]:
    """Return how often each operator occurs, without the borders and movers of shape."""
    counts: dict[str, int] = {}
    for node in model.graph:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return counts
