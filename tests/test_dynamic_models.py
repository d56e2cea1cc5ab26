"""Models that are quantized at run time: onnxruntime's own, and the recipe dynamic-int8."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnxruntime.quantization import QuantType, quantize_dynamic

from qcompile.cli.command import main
from qcompile.compiler import compile_model
from qcompile.config import CompileConfig
from qcompile.model import CompiledModel
from qcompile.targets import TARGETS
from qcompile.targets.devices.remote import RemoteDevice
from qcompile.validation.first_difference import judge
from tests.graphs import HEADER
from tests.nets import NETS, net, products, samples
from tests.targets.boards import needs_board
from tests.targets.test_lowering import (  # noqa: F401
    HERE,
    THERE,
    device_of,
    every_value,
    runnable,
)

Array = npt.NDArray[np.float32]
DYNAMIC = CompileConfig(recipe="dynamic-int8")

LAYER = """
    g (float[5,40] x, float[40,24] w, float[24] b) => (float[5,24] y)
    { m = MatMul(x, w)  a = Add(m, b)  y = Relu(a) }"""
NETWORK = """
    g (float[2,6,40] x, float[40,24] w, float[24] b, float[24,40] v) => (float[2,6,40] y)
    { m = MatMul(x, w)  a = Add(m, b)  r = Relu(a)  t = Transpose <perm = [0, 2, 1]> (r)
      p = MatMul(r, t)  c = MatMul(p, r)  y = MatMul(c, v) }"""

BOARDS = [
    name if name == "arm-i8mm" else pytest.param(name, marks=pytest.mark.slow)
    for name in THERE
]
"""A board takes 20 s to start."""


def by_onnxruntime(text: str, folder: Path, weight: QuantType) -> onnx.ModelProto:
    """Return the network with random weights, quantized by onnxruntime."""
    proto, rng = onnx.parser.parse_model(HEADER + text), np.random.default_rng(0)
    for value in list(proto.graph.input)[1:]:
        shape = [size.dim_value for size in value.type.tensor_type.shape.dim]
        array = (rng.standard_normal(shape) / 6).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, value.name))
        proto.graph.input.remove(value)
    for index, node in enumerate(proto.graph.node):
        node.name = f"node_{index}"
    onnx.save(proto, folder / "float.onnx")
    quantize_dynamic(
        folder / "float.onnx",
        folder / "q.onnx",
        weight_type=weight,
        per_channel=weight is QuantType.QInt8,
        extra_options={"MatMulConstBOnly": False},
    )
    return onnx.load(folder / "q.onnx")


def kernels(compiled: CompiledModel) -> list[str]:
    return [kernel["kernel"] for kernel in compiled.manifest["kernels"]]


@pytest.mark.parametrize("weight", [QuantType.QInt8, QuantType.QUInt8], ids=str)
def test_a_layer_is_onnxruntimes(weight: QuantType, tmp_path: Path) -> None:
    """The integers are equal; y has one rounding here, three there of what is added."""
    proto = by_onnxruntime(LAYER, tmp_path, weight)
    (quantize,) = (n for n in proto.graph.node if n.op_type == "DynamicQuantizeLinear")
    names = list(quantize.output)
    for name, kind, shape in zip(names, (2, 1, 2), ((5, 40), (), ()), strict=True):
        proto.graph.output.append(onnx.helper.make_tensor_value_info(name, kind, shape))
    x = np.random.default_rng(1).standard_normal((5, 40)).astype(np.float32)
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    expected = dict(zip(["y", *names], session.run(None, {"x": x}), strict=True))
    compiled = compile_model(proto, "x86-vnni")
    got = compiled.run({"x": x})
    for name in names:
        np.testing.assert_array_equal(got[name], expected[name], strict=True)
    largest = np.abs(expected["y"]).max() + 1
    assert np.abs(got["y"] - expected["y"]).max() <= 4 * 2.0**-24 * largest
    if weight is QuantType.QInt8:
        assert [node.op_type for node in compiled.integer_graph.graph] == [
            "DynamicQuantizeLinear",
            "QDynamicMatMul",
        ]


@pytest.mark.parametrize("target", HERE)
def test_every_value_of_a_network_is_the_oracles(target: str, tmp_path: Path) -> None:
    proto = by_onnxruntime(NETWORK, tmp_path, QuantType.QInt8)
    compiled = compile_model(proto, runnable(TARGETS[target]))
    assert compiled.report["ops"]["float"] == 1  # the Transpose between two floats
    assert {"DenseConv", "BatchMatMul", "DynamicRange"} <= set(kernels(compiled))
    check(compiled, tmp_path)


@pytest.mark.parametrize("name", products.NETS)
def test_the_recipe(name: str, tmp_path: Path) -> None:
    """Every value is the oracle's; onnxruntime, which takes the same model, is near.

    A step of an activation that falls the other way may move its answer by a step.
    """
    compiled = compile_model(net(NETS[name]), "x86-vnni", config=DYNAMIC)
    assert compiled.manifest["config"]["recipe"] == "dynamic-int8"
    check(compiled, tmp_path)
    proto = ir.to_proto(compiled.qdq_graph)
    onnx.checker.check_model(proto, full_check=True)
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    (inputs,) = samples(compiled.integer_graph, 1, seed=1)
    for y, expected in zip(
        compiled.run(inputs).values(), session.run(None, inputs), strict=True
    ):
        step = np.abs(expected).max() / 127
        assert np.abs(y - expected).max() <= 2 * step


@needs_board
@pytest.mark.parametrize("target", BOARDS)
def test_every_value_on_a_board(
    target: str,
    device_of: Callable[[str], RemoteDevice],  # noqa: F811
    tmp_path: Path,
) -> None:
    proto = by_onnxruntime(NETWORK, tmp_path, QuantType.QInt8)
    compiled = compile_model(proto, target)
    x = np.random.default_rng(1).standard_normal((2, 6, 40)).astype(np.float32)
    report = compiled.on(device_of(target)).validate([{"x": x}], layers=True)["oracle"]
    assert report["bit_exact"]


def check(compiled: CompiledModel, folder: Path) -> None:
    graph = compiled.integer_graph
    runner = every_value(compiled.target, graph, folder)
    for inputs in samples(graph, 3, seed=1):
        values = {**inputs, **runner(inputs)}
        assert [each for each in judge(graph, values) if each["differences"]] == []


def test_commands_need_no_data(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(ir.to_proto(net(NETS["attention with wide heads"])), path)
    common = ["--target", "x86-vnni", "--recipe", "dynamic-int8"]
    assert main(["quantize", str(path), *common, "-o", str(tmp_path / "q.onnx")]) == 0
    kinds = [node.op_type for node in onnx.load(tmp_path / "q.onnx").graph.node]
    assert (kinds.count("MatMulInteger"), kinds.count("MatMul")) == (5, 0)
    assert main(["compile", str(path), *common, "-o", str(tmp_path / "m.qcm")]) == 0
    assert main(["compile", str(tmp_path / "q.onnx"), "--target", "x86-vnni"]) == 0


def test_quantize_without_data_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(ir.to_proto(net(NETS["attention with wide heads"])), path)
    common = ["--target", "x86-vnni", "--recipe", "static-int8"]
    assert main(["quantize", str(path), *common, "-o", str(tmp_path / "q.onnx")]) == 1
    assert "a float model needs calibration data" in capsys.readouterr().err


INTEGERS = {
    "plain": "g (uint8[3,300] a, int8[300,5] b) => (int32[3,5] y) { y = MatMulInteger(a, b) }",
    "zero points": """
        g (uint8[3,300] a, uint8[300,5] b, uint8 z_a, uint8[5] z_b) => (int32[3,5] y)
        { y = MatMulInteger(a, b, z_a, z_b) }""",
    "a batch of int8": """
        g (int8[2,3,300] a, int8[2,300,5] b, int8 z_a) => (int32[2,3,5] y)
        { y = MatMulInteger(a, b, z_a) }""",
    "sums that float32 does not hold": """
        g (uint8[3,30000] a, uint8[30000,5] b) => (int32[3,5] y)
        { y = MatMulInteger(a, b) }""",
}


@pytest.mark.parametrize("text", INTEGERS.values(), ids=INTEGERS)
def test_integer_sums_are_exact(text: str) -> None:
    proto, rng = onnx.parser.parse_model(HEADER + text), np.random.default_rng(0)
    feeds = {}
    for value in proto.graph.input:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        shape = [size.dim_value for size in value.type.tensor_type.shape.dim]
        info = np.iinfo(dtype)
        feeds[value.name] = np.asarray(rng.integers(info.min, info.max + 1, shape), dtype)
    wide = {name: array.astype(np.int64) for name, array in feeds.items()}
    expected = (wide["a"] - wide.get("z_a", 0)) @ (wide["b"] - wide.get("z_b", 0))
    (y,) = compile_model(proto, "x86-vnni").run(feeds).values()
    np.testing.assert_array_equal(y, expected.astype(np.int32), strict=True)
