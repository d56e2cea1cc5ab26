"""Small QDQ models, and the way from one to its integer graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx_ir.passes.common import RemoveUnusedNodesPass

from qcompile import oracle
from qcompile.config import CompileConfig
from qcompile.limits import ConstantInput, InputRank
from qcompile.passes.cancel_qdq import CancelQdq
from qcompile.passes.fold_qdq import FoldQdq
from qcompile.passes.fold_weight_qdq import FoldWeightQdq
from qcompile.passes.propagate_qdq import PropagateQdq
from qcompile.passes.retarget_activations import RetargetActivations
from qcompile.quant import S8_AFFINE, S8_PER_CHANNEL, U8, QuantSpec
from qcompile.regions import MOVE_OPS
from qcompile.target import Built, OpSupport, Runner, Target
from qcompile.unary import BINARY, UNARY_OPS
from tests.graphs import graph

Array = npt.NDArray[Any]


class NoLowering:
    """These targets are only asked for their rows."""

    def build(self, model: ir.Model, *, every_value: bool = False) -> Built:
        raise AssertionError

    def load(self, library: object, model: ir.Model, *, every_value: bool = False) -> Runner:
        raise AssertionError


def target(activation: QuantSpec = U8) -> Target:
    """Return a target with a row for everything that has a folding rule."""
    either = (activation,)
    weighted = (("Conv", (InputRank((4,)), ConstantInput(1))), ("Gemm", ()), ("MatMul", ()))
    plain = {"AveragePool", "GlobalAveragePool", "PRelu", "ReduceMean", "ReduceSum", "Softmax"}
    plain |= {*UNARY_OPS, *BINARY}
    rows = [
        OpSupport(op_type=op, activation=either, weight=(S8_PER_CHANNEL,), limits=limits)
        for op, limits in weighted
    ]
    rows += [OpSupport(op_type=op, activation=either) for op in sorted(plain)]
    rows += [
        OpSupport(op_type=op, activation=either, shared_scale=True) for op in sorted(MOVE_OPS)
    ]
    return Target(
        name=f"test-{activation.dtype.name.lower()}",
        about="rows for tests",
        arch="",
        features=(),
        ops=tuple(rows),
        lowering=NoLowering(),
    )


U8_TARGET, S8_TARGET = target(U8), target(S8_AFFINE)


def typed(text: str) -> ir.Model:
    """Parse a graph in ONNX text and infer its types and shapes."""
    proto = onnx.shape_inference.infer_shapes(ir.to_proto(graph(text)), strict_mode=True)
    return ir.from_proto(proto)


def integer_graph(
    model: ir.Model, where: Target = U8_TARGET, config: CompileConfig | None = None
) -> ir.Model:
    """Run every pass from a QDQ graph to its integer graph, in place."""
    config = config or CompileConfig()
    for step in (
        FoldWeightQdq(),
        RetargetActivations(where, config),
        PropagateQdq(where, config),
        CancelQdq(),
        FoldQdq(where, config),
        RemoveUnusedNodesPass(),
    ):
        step(model)
    onnx.checker.check_model(ir.to_proto(model))
    return model


def op_types(model: ir.Model) -> list[str]:
    """Return the operators in order."""
    return [node.op_type for node in model.graph]


def run_reference(model: onnx.ModelProto, inputs: dict[str, Array]) -> list[Array]:
    """Run the QDQ graph in onnxruntime as it stands, without its own fusions."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return [np.asarray(array) for array in session.run(None, inputs)]


def run_integers(model: ir.Model, inputs: dict[str, Array]) -> list[Array]:
    """Run the integer graph in the oracle."""
    return list(oracle.run(model, inputs).values())


@dataclasses.dataclass
class Builder:
    """Builds a QDQ model with real weights, node by node.

    Attributes:
        x_shape: Shape of the float input `x`.
        dtype: Integer type of the activations.
    """

    x_shape: Sequence[int]
    dtype: type[np.integer[Any]] = np.uint8

    def __post_init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, Array] = {}

    def constant(self, name: str, array: npt.ArrayLike) -> str:
        self.initializers[name] = np.asarray(array)
        return name

    def node(self, op_type: str, inputs: Sequence[str], **attributes: Any) -> str:
        name = f"{op_type.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, inputs, [name], name=name, **attributes))
        return name

    def qdq(self, x: str, scale: float, zero_point: int) -> str:
        """Send a value through Q and DQ."""
        name = f"{x}_{len(self.nodes)}"
        s = self.constant(f"{name}_s", np.float32(scale))
        z = self.constant(f"{name}_z", np.asarray(zero_point, self.dtype))
        q = self.node("QuantizeLinear", [x, s, z])
        return self.node("DequantizeLinear", [q, s, z])

    def weight(self, array: Array, scale: npt.ArrayLike, axis: int = 0) -> str:
        """Add integers behind a DQ; also an int32 bias."""
        name = f"w{len(self.nodes)}"
        w = self.constant(name, array)
        s = self.constant(f"{name}_s", np.asarray(scale, np.float32))
        z = self.constant(f"{name}_z", np.zeros(np.shape(scale), array.dtype))
        per_channel = {"axis": axis} if np.ndim(scale) else {}
        return self.node("DequantizeLinear", [w, s, z], **per_channel)

    def model(self, *outputs: str) -> onnx.ModelProto:
        proto = helper.make_model(
            helper.make_graph(
                self.nodes,
                "g",
                [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.x_shape)],
                [
                    helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
                    for name in outputs
                ],
                [numpy_helper.from_array(a, name) for name, a in self.initializers.items()],
            ),
            opset_imports=[helper.make_opsetid("", 21)],
            ir_version=10,
        )
        for value in proto.graph.output:
            value.type.tensor_type.ClearField("shape")
        return onnx.shape_inference.infer_shapes(proto, strict_mode=True)
