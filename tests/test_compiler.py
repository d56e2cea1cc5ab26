"""From an ONNX model to a compiled one: the order of passes, and what a compile depends on."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

import qcompile
from qcompile.cli.after_pass import after_pass
from qcompile.compiler import (
    compile_model,
    float_passes,
    integer_passes,
    quantize_model,
)
from qcompile.config import CompileConfig
from qcompile.errors import CompileError, UnsupportedOpError
from qcompile.pipeline import run_passes
from qcompile.target import Built, Lowering, Runner
from qcompile.targets import find_target
from qcompile.targets.x86 import X86_VNNI
from tests.graphs import graph
from tests.nets import NETS, net, samples

RESIDUAL = NETS["convolutions and a residual"]


@dataclasses.dataclass(frozen=True)
class Refuse(ir.passes.InPlacePass):
    """A pass that finds an operator the target lacks."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        X86_VNNI.support(model.graph[0])
        return ir.passes.PassResult(model, modified=False)


def test_error_of_a_pass_reaches_the_caller_unwrapped() -> None:
    model = graph("g (float[4,2,2] x) => (float[4] y) { y = Det(x) }")
    with pytest.raises(UnsupportedOpError, match="no integer kernel for Det"):
        run_passes(model, [Refuse()])


@pytest.mark.parametrize("name", NETS)
def test_every_pass_leaves_a_valid_model_and_a_second_run_changes_nothing(name: str) -> None:
    model = net(NETS[name])
    seen: list[str] = []
    verify = after_pass(None, verify=True)
    quantized = quantize_model(model, X86_VNNI, calibration=samples(model, 2), after=verify)
    passes = (*float_passes(), *integer_passes(X86_VNNI, CompileConfig()))
    folded = run_passes(quantized, passes, lambda step, _: seen.append(type(step).__name__))
    assert "ResolveAutoPad" in seen
    assert "FoldQdq" in seen
    run_passes(folded, integer_passes(X86_VNNI, CompileConfig()), no_change)


def no_change(step: ir.passes.PassBase, result: ir.passes.PassResult) -> None:
    assert not result.modified, type(step).__name__


def test_a_saved_qdq_graph_compiles_to_the_same_integers(tmp_path: Path) -> None:
    model = net(RESIDUAL)
    data = samples(model, 4)
    path = tmp_path / "qdq.onnx"
    ir.save(quantize_model(model, "x86-vnni", calibration=data), path)
    direct = compile_model(model, "x86-vnni", calibration=data)
    through = compile_model(path, "x86-vnni")
    for inputs in samples(model, 3, seed=1):
        assert np.array_equal(direct.run(inputs)["y"], through.run(inputs)["y"])


def test_the_qdq_graph_runs_in_onnxruntime_near_the_float_model() -> None:
    model = net(RESIDUAL)
    data = samples(model, 4)
    quantized = quantize_model(model, "x86-vnni", calibration=data)
    real, fake = (session(each).run(None, data[0])[0] for each in (model, quantized))
    # Three layers of 8-bit steps on calibrated data: well above 20 dB of signal to noise.
    assert np.square(real - fake).sum() < np.square(real).sum() / 100


def test_a_concat_does_not_spoil_what_else_is_read() -> None:
    """Before, its small part lay on the scale of the large one: under 5 dB."""
    model = net(NETS["a concat with a far larger part"])
    compiled = compile_model(model, "native", calibration=samples(model, 4))
    for inputs in samples(model, 4):
        real = session(model).run(None, inputs)
        for expected, got in zip(real, compiled.run(inputs).values(), strict=True):
            noise = np.square(expected - got).sum() / np.square(expected).sum()
            assert -10 * np.log10(noise) > 25


@pytest.mark.parametrize("factor", [1e-30, 1e-10, 1e10, 1e30])
def test_tiny_and_huge_numbers_inside_are_numbers_too(factor: float) -> None:
    model = net("""g (float[1,3,6,6] x, float[4,3,3,3] w1, float[5,4,1,1] w2)
        => (float[1,5,4,4] y) { a = Conv(x, w1)  r = Relu(a)  y = Conv(r, w2) }""")
    for name, by in (("w1", factor), ("w2", 1 / factor)):
        value = model.graph.initializers[name]
        assert value.const_value is not None
        value.const_value = ir.tensor(np.float32(by) * value.const_value.numpy(), name=name)
    compiled = compile_model(model, "native", calibration=samples(model, 4))
    assert not compiled.report["float_islands"]
    (inputs,) = samples(model, 1)
    (expected,), got = session(model).run(None, inputs), compiled.run(inputs)["y"]
    # Three layers of 8-bit steps, as at a factor of 1.
    assert np.square(expected - got).sum() < np.square(expected).sum() / 10**2.5


FAR_APART = {
    "a sum": (
        """g (float[4] x) => (float[4] y)
        <float s = {1e38}, float u = {1e-6}, uint8 z = {128}>
        { q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)  a = Add(d, d)
          p = QuantizeLinear(a, u, z)  y = DequantizeLinear(p, u, z) }""",
        "float32 overflows",
    ),
    "a sum, each product finite": (
        """g (float[4] x) => (float[4] y)
        <float s = {1e36}, float u = {1.0}, uint8 z = {128}>
        { q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)  a = Add(d, d)
          p = QuantizeLinear(a, u, z)  y = DequantizeLinear(p, u, z) }""",
        "float32 overflows",
    ),
    "a product that vanishes": (
        """g (float[1,1] x) => (float[1,1] y)
        <float s = {1e-20}, float t = {1e-20}, float u = {1e4}, uint8 z = {128},
         int8[1,1] w = {5}, int8 n = {0}>
        { q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)
          v = DequantizeLinear(w, t, n)  a = MatMul(d, v)
          p = QuantizeLinear(a, u, z)  y = DequantizeLinear(p, u, z) }""",
        "float32 vanishes",
    ),
}


@pytest.mark.parametrize(("text", "reason"), FAR_APART.values(), ids=FAR_APART)
def test_scales_too_far_apart_for_float32_stay_float(text: str, reason: str) -> None:
    (island,) = compile_model(graph(text), "x86-vnni").report["float_islands"]
    assert island["reason"] == f"its scales are so far apart that {reason}"


def session(model: ir.Model) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(
        ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"]
    )


def test_compiling_twice_gives_the_same_artifact(tmp_path: Path) -> None:
    model = net(RESIDUAL)
    paths = [tmp_path / "one.qcm", tmp_path / "two.qcm"]
    for path in paths:
        compile_model(model, "x86-vnni", calibration=samples(model, 4)).save(path)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_an_artifact_runs_as_the_model_it_was_saved_from(tmp_path: Path) -> None:
    model = net(RESIDUAL)
    compiled = qcompile.compile(model, target="native", calibration=samples(model, 4))
    compiled.save(tmp_path / "m.qcm")
    loaded = qcompile.load(tmp_path / "m.qcm")
    (inputs,) = samples(model, 1, seed=1)
    assert np.array_equal(loaded.run(inputs)["y"], compiled.run(inputs)["y"])
    json.dumps(loaded.manifest)


def test_the_source_model_is_not_changed() -> None:
    model = net(RESIDUAL)
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    compile_model(model, "x86-vnni", calibration=samples(model, 2))
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before


def test_a_float_model_needs_calibration() -> None:
    with pytest.raises(CompileError, match="a float model needs calibration data") as caught:
        compile_model(net(RESIDUAL), "x86-vnni")
    assert "--calib" in str(caught.value)


def test_a_generator_calibrates_as_a_list_does() -> None:
    model = net(RESIDUAL)
    data = samples(model, 4)
    listed = compile_model(model, "x86-vnni", calibration=data)
    generated = compile_model(model, "x86-vnni", calibration=(each for each in data))
    assert np.array_equal(generated.golden.inputs["x"], data[0]["x"])
    assert generated.manifest == listed.manifest


@dataclasses.dataclass(frozen=True)
class WrongAnswers:
    """A lowering whose library adds a step to every output."""

    real: Lowering = X86_VNNI.lowering

    def build(self, model: ir.Model, *, every_value: bool = False) -> Built:
        return self.real.build(model, every_value=every_value)

    def load(self, library: Path, model: ir.Model, *, every_value: bool = False) -> Runner:
        run = self.real.load(library, model, every_value=every_value)
        return lambda inputs: {name: array + 1 for name, array in run(inputs).items()}


def test_a_kernel_that_does_not_give_the_oracles_integers_stops_the_compile() -> None:
    model = net(RESIDUAL)
    wrong = dataclasses.replace(find_target("native"), lowering=WrongAnswers())
    with pytest.raises(CompileError, match="do not give the oracle's integers") as caught:
        compile_model(model, wrong, calibration=samples(model, 1))
    assert caught.value.where == "output 'y'"


def test_what_runs_elsewhere_is_not_run() -> None:
    model = net(RESIDUAL)
    elsewhere = dataclasses.replace(X86_VNNI, arch="s390x", lowering=WrongAnswers())
    compile_model(model, elsewhere, calibration=samples(model, 1))


COMPILE_THEN_BENCH = '''
import os
from qcompile.compiler import compile_model
from tests.nets import net, samples
model = net("""g (float[1,16,40,40] x, float[64,16,3,3] w1, float[64,64,3,3] w2)
  => (float[1,64,36,36] y) { a = Conv(x, w1)  y = Conv(a, w2) }""")
compiled = compile_model(model, "native", calibration=samples(model, 1))
before = len(os.listdir("/proc/self/task"))
assert compiled.bench(threads=2, runs=2)["threads"] == 2
print(len(os.listdir("/proc/self/task")) - before)
'''


def test_a_compile_leaves_the_thread_count_open() -> None:
    environment = {**os.environ}
    environment.pop("QCOMPILE_THREADS", None)
    done = subprocess.run(
        [sys.executable, "-c", COMPILE_THEN_BENCH],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "1"  # the worker beside the caller


def test_a_batch_of_a_dynamic_model_is_chosen_with_shapes() -> None:
    proto = ir.to_proto(net(RESIDUAL))
    assert isinstance(proto, onnx.ModelProto)
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    del proto.graph.value_info[:]
    data = [{"x": np.concatenate([sample["x"]] * 2)} for sample in samples(net(RESIDUAL), 4)]
    compiled = compile_model(proto, "x86-vnni", calibration=data, shapes={"x": (2, 3, 9, 11)})
    assert compiled.run(data[0])["y"].shape == (2, 16, 9, 11)
    single = compile_model(proto, "x86-vnni", calibration=samples(net(RESIDUAL), 4))
    assert np.array_equal(
        single.run({"x": data[0]["x"][:1]})["y"], compiled.run(data[0])["y"][1:]
    )


def test_a_node_kept_float_by_the_config_is_listed_with_its_reason() -> None:
    model = net(NETS["tables and a gate"])
    config = CompileConfig(float_ops=("Sigmoid",))
    compiled = compile_model(model, "x86-vnni", calibration=samples(model, 4), config=config)
    (island,) = compiled.report["float_islands"]
    assert island["operators"] == ["Sigmoid"]
    assert island["reason"] == "the config keeps Sigmoid in float"


def test_a_pattern_that_matches_no_node_is_refused_with_the_nearest_name() -> None:
    config = CompileConfig.from_dict({"nodes": {"Conv_7": {"float": True}}})
    with pytest.raises(CompileError, match="no node has such a name") as caught:
        compile_model(net(RESIDUAL), "x86-vnni", config=config)
    assert caught.value.where == 'nodes."Conv_7"'
    assert caught.value.hint.startswith("the nearest is 'Conv_")


def test_what_was_compiled_for_another_machine_is_refused_before_it_runs() -> None:
    model = net(RESIDUAL)
    target = dataclasses.replace(X86_VNNI, features=(*X86_VNNI.features, "avx9000"))
    compiled = compile_model(model, target, calibration=samples(model, 2))
    with pytest.raises(CompileError, match="this CPU lacks avx9000"):
        compiled.run(samples(model, 1)[0])
