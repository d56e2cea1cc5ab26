"""A compiled model without a compiler: hand-made graphs, and the oracle as its device."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from qcompile import ops, oracle
from qcompile.artifact import Golden, sha256
from qcompile.artifact.manifest import make_manifest
from qcompile.model import CompiledModel
from qcompile.quant import U8
from qcompile.target import Arrays, Built, KernelInfo, OpSupport, Runner, Target
from qcompile.validation.reference import fingerprint
from tests.graphs import INTEGER_HEADER, graph

Array = npt.NDArray[np.generic]
Change = Callable[[Array], Array]

RELU_TABLE = ", ".join(str(max(value, 128)) for value in range(256))

FLOAT = "g (float[{batch}, 4] x) => (float[{batch}, 4] y) {{ y = Relu(x) }}"

QDQ = """g (float[{batch}, 4] x) => (float[{batch}, 4] y)
<float s = {{0.5}}, uint8 z = {{128}}>
{{ q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)  r = Relu(d)
   p = QuantizeLinear(r, s, z)  y = DequantizeLinear(p, s, z) }}"""

INTEGER = """g (float[{batch}, 4] x) => (float[{batch}, 4] y)
<float s = {{0.5}}, uint8 z = {{128}}, uint8[256] table = {{{table}}}>
{{ q = QuantizeLinear(x, s, z)  r = qcompile.QLut(q, table)
   y = DequantizeLinear(r, s, z) }}"""

TAIL_ISLAND = """g (float[{batch}, 4] x) => (float[{batch}, 4] y)
<float s = {{0.5}}, uint8 z = {{128}}, uint8[256] table = {{{table}}}>
{{ q = QuantizeLinear(x, s, z)  r = qcompile.QLut(q, table)  d = DequantizeLinear(r, s, z)
   y = Softmax <axis = -1> (d) }}"""

INNER_ISLAND = """g (float[{batch}, 4] x) => (float[{batch}, 4] y)
<float s = {{0.5}}, uint8 z = {{128}}, uint8[256] table = {{{table}}}>
{{ q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)  c = Celu(d)
   p = QuantizeLinear(c, s, z)  r = qcompile.QLut(p, table)
   y = DequantizeLinear(r, s, z) }}"""


@dataclasses.dataclass(frozen=True)
class OracleLowering:
    """Runs the oracle node by node; `wrong` changes the values of that name on the way.

    Attributes:
        wrong: Changes made in every build.
        shipped_wrong: Changes made only where not every value is given out.
    """

    wrong: Mapping[str, Change] = dataclasses.field(default_factory=dict)
    shipped_wrong: Mapping[str, Change] = dataclasses.field(default_factory=dict)

    def build(self, model: ir.Model, *, every_value: bool = False) -> Built:
        return Built(b"library" * 100, (KernelInfo("r", "table"),))

    def load(self, library: Path, model: ir.Model, *, every_value: bool = False) -> Runner:
        assert library.read_bytes() == b"library" * 100
        wrong = self.wrong if every_value else {**self.wrong, **self.shipped_wrong}

        def run(inputs: Arrays) -> dict[str, Array]:
            values: dict[str, Array] = {
                str(value.name): value.const_value.numpy()
                for value in model.graph.initializers.values()
                if value.const_value is not None
            }
            values |= inputs
            for node in model.graph:
                arrays = [
                    None if each is None else values[str(each.name)] for each in node.inputs
                ]
                for value, array in zip(
                    node.outputs, oracle.run_node(node, arrays), strict=True
                ):
                    name = str(value.name)
                    values[name] = wrong[name](array) if name in wrong else array
            names = [str(value.name) for value in model.graph.outputs]
            if every_value:
                names += [str(value.name) for node in model.graph for value in node.outputs]
            return {name: values[name] for name in names}

        return run


def fake_target(lowering: OracleLowering | None = None) -> Target:
    return Target(
        name="fake",
        about="the oracle in a target's clothes",
        arch="x86_64",
        features=(),
        ops=(OpSupport(op_type="Relu", activation=(U8,)),),
        lowering=lowering or OracleLowering(),
    )


def integer_graph(text: str = INTEGER, batch: int = 1) -> ir.Model:
    model = ir.from_onnx_text(INTEGER_HEADER + text.format(table=RELU_TABLE, batch=batch))
    for value in (value for node in model.graph for value in node.outputs):
        if value.name in ("q", "r", "p"):
            value.dtype = ir.DataType.UINT8
            value.metadata_props.update({ops.SCALE: "0.5", ops.ZERO_POINT: "128"})
    for node in model.graph:
        node.name = f"node_{node.outputs[0].name}"
    return model


def float_model(folder: Path, batch: int = 1) -> Path:
    path = folder / "model.onnx"
    onnx.save(ir.to_proto(graph(FLOAT.format(batch=batch))), path)
    return path


def compiled(
    lowering: OracleLowering | None = None,
    *,
    text: str = INTEGER,
    batch: int = 1,
    reference: Path | None = None,
) -> CompiledModel:
    """Return y = Relu(x) on a grid of 1/2; the answers of exact inputs are exact."""
    model = integer_graph(text, batch)
    target = fake_target(lowering)
    qdq = graph(QDQ.format(batch=batch))
    inputs = {"x": np.tile(np.array([[-1.5, -0.5, 0.5, 2.0]], np.float32), (batch, 1))}
    built = target.lowering.build(model)
    manifest = make_manifest(
        target=target,
        model_sha256=fingerprint(reference) if reference else sha256(b"a model"),
        calibration_sha256=sha256(b"some data"),
        config={"recipe": "auto"},
        recipe={"name": "static-int8", "reason": "a test", "sqnr_db": {}},
        seeds={},
        integer_graph=model,
        qdq_graph=qdq,
        kernels=built.kernels,
    )
    return CompiledModel(
        target=target,
        integer_graph=model,
        qdq_graph=qdq,
        library=built.library,
        manifest=manifest,
        golden=Golden(inputs, oracle.run(model, inputs)),
        seconds={"build": 0.25},
    )
