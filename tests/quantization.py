"""What the tests of the quantizer share: a target of rows, observations, small float nets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnxruntime as ort

from qcompile.calibration.calibrators import Observation
from qcompile.config import CompileConfig
from qcompile.passes.choose_schemes import ChooseSchemes, observed_values
from qcompile.quant import S8_PER_CHANNEL, U8, QuantSpec
from qcompile.regions import MOVE_OPS, ROLES, WEIGHTED_OPS
from qcompile.target import Arrays, Built, OpSupport, Runner, Target
from qcompile.unary import BINARY, UNARY_OPS

F32 = npt.NDArray[np.float32]


class NoLowering:
    """For targets that are only asked for their rows."""

    def build(self, model: ir.Model, *, every_value: bool = False) -> Built:
        raise NotImplementedError

    def load(self, library: Path, model: ir.Model, *, every_value: bool = False) -> Runner:
        raise NotImplementedError


def target(
    activation: tuple[QuantSpec, ...] = (U8,),
    weight: tuple[QuantSpec, ...] = (S8_PER_CHANNEL,),
    without: tuple[str, ...] = (),
    rows: tuple[OpSupport, ...] = (),
) -> Target:
    """Return a target with a row for every operator but those `without` one."""
    own = {row.op_type for row in rows}
    return Target(
        name="table-top",
        about="rows only",
        arch="none",
        features=(),
        ops=(
            *rows,
            *(
                OpSupport(
                    op_type=op_type,
                    activation=activation,
                    weight=weight if op_type in WEIGHTED_OPS else (),
                    shared_scale=op_type in MOVE_OPS,
                )
                for op_type in sorted({*ROLES, *UNARY_OPS, *BINARY} - own)
                if op_type not in without
            ),
        ),
        lowering=NoLowering(),
    )


def run(model: ir.Model, inputs: Arrays, *names: str) -> dict[str, F32]:
    """Run a model in onnxruntime; with names, give out these values instead of its outputs."""
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    if names:
        del proto.graph.output[:]
        proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = ort.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    outputs = [output.name for output in session.get_outputs()]
    known = {value.name for value in session.get_inputs()}
    fed = {name: array for name, array in inputs.items() if name in known}
    return dict(zip(outputs, session.run(outputs, fed), strict=True))


def observe(
    model: ir.Model, inputs: Arrays, device: Target, config: CompileConfig
) -> Mapping[str, Observation]:
    """Return what one run shows of the values that need a range."""
    names = observed_values(model.graph, device, config)
    seen: dict[str, npt.NDArray[np.generic]] = dict(inputs)
    computed = [name for name in names if name not in inputs]
    if computed:
        seen.update(run(model, inputs, *computed))
    observations = {name: Observation() for name in names}
    for name in names:
        observations[name].add(seen[name])
    return observations


def choose(
    model: ir.Model,
    inputs: Arrays,
    device: Target | None = None,
    config: CompileConfig | None = None,
) -> ir.Model:
    """Choose the schemes of a model from one run of it."""
    device, config = device or target(), config or CompileConfig(calibrator="min-max")
    observations = observe(model, inputs, device, config)
    result = ChooseSchemes(device, observations, config)(model)
    assert not ChooseSchemes(device, observations, config)(model).modified
    return result.model


def typed(text_model: ir.Model) -> ir.Model:
    """Return the model with the types and shapes of its inner values inferred."""
    return ir.from_proto(onnx.shape_inference.infer_shapes(ir.to_proto(text_model)))


def set_constants(model: ir.Model, arrays: Mapping[str, npt.ArrayLike]) -> ir.Model:
    """Give constants to inputs of the graph that stand for them, and infer the shapes."""
    for name, numbers in arrays.items():
        value = next(v for v in model.graph.inputs if v.name == name)
        model.graph.inputs.remove(value)
        array = np.asarray(numbers, np.float32)
        value.shape, value.const_value = ir.Shape(array.shape), ir.tensor(array, name=name)
        model.graph.register_initializer(value)
    return typed(model)
