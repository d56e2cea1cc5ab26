"""Float islands: what joins them, and what nothing lowers."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import tvm

from qcompile import oracle
from qcompile.compiler import compile_model
from qcompile.errors import CompileError, UnsupportedOpError
from qcompile.targets import TARGETS, islands, program
from qcompile.targets.emission import emitted
from qcompile.targets.emitter import Emitter
from qcompile.targets.islands import cluster
from qcompile.targets.rules import has_rule
from tests.graphs import graph
from tests.nets import samples

REFUSED = {
    "a branch": (
        """g (float[4] x) => (float[4] y) <float zero = {0}>
        { s = ReduceSum <keepdims = 0> (x)  c = Greater(s, zero)
          y = If (c) <
            then_branch: graph = t () => (float[4] a) { a = Neg(x) },
            else_branch: graph = e () => (float[4] b) { b = Relu(x) }> }""",
        "If decides while the model runs",
    ),
    "an operator that the importer lacks": (
        "g (float[4] x) => (float[4] y) { y = LpNormalization(x) }",
        "neither an integer kernel nor a float one",
    ),
    "a Resize by a scale that the sizes do not tell": (
        """g (float[1,1,5,5] x) => (float[1,1,8,8] y) <float[4] s = {1, 1, 1.7, 1.7}>
        { y = Resize <mode = "nearest"> (x, , s) }""",
        "Resize by 1.7 from 5 to 8",
    ),
    "an operator that TVM has no kernel for": (
        """g (float[1,8] x) => (float[1,2] y, int64[1,2] i) <int64[1] k = {2}>
        { y, i = TopK(x, k) }""",
        "TVM has no kernel for relax.topk",
    ),
    "one sign of infinity": (
        """g (float[4] x) => (bool[4] y) { y = IsInf <detect_negative = 0> (x) }""",
        "IsInf: it asks for one sign of infinity only, which no float kernel computes",
    ),
    "training": (
        """g (float[4] x) => (float[4] y) <float r = {0.5}, bool t = {1}>
        { y = Dropout(x, r, t) }""",
        "Dropout: it is in training mode",
    ),
    "antialiasing": (
        """g (float[1,1,4,4] x) => (float[1,1,2,2] y) <float[4] s = {1, 1, 0.5, 0.5}>
        { y = Resize <mode = "linear", antialias = 1> (x, , s) }""",
        "Resize: it asks for antialiasing",
    ),
    "a type that is no number of ours": (
        """g (float[4] x) => (float[4] y)
        { a = Cast <to = 17> (x)  y = Cast <to = 1> (a) }""",
        "'a' is float8e4m3fn",
    ),
}


@pytest.mark.parametrize(("text", "problem"), REFUSED.values(), ids=REFUSED)
def test_refused(text: str, problem: str) -> None:
    model = graph(text)
    with pytest.raises(UnsupportedOpError, match=problem) as caught:
        compile_model(model, "x86-vnni", calibration=samples(model, 1))
    assert caught.value.hint


Q16 = """g (float[1,4] x) => (float[1,4] y) <float s = {0.5}, int16 z = {0}>
    { q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)  y = Neg(d) }"""
Q_CHANNELS = """g (float[1,2] x) => (float[1,2] y)
    <float[2] s = {0.5, 0.25}, uint8[2] z = {0, 9}>
    { q = QuantizeLinear <axis = 1> (x, s, z)  y = DequantizeLinear <axis = 1> (q, s, z) }"""
Q_DYNAMIC = """g (float[1,4] x) => (float[1,4] y)
    { q, s, z = DynamicQuantizeLinear(x)  y = DequantizeLinear(q, s, z) }"""


@pytest.mark.parametrize("text", [Q16, Q_CHANNELS, Q_DYNAMIC])
def test_quantization_that_no_kernel_does_stays_float(text: str) -> None:
    model = graph(text)
    (value,) = model.graph.inputs
    compiled = compile_model(model, "x86-vnni")
    (inputs,) = samples(model, 1)
    expected = ir_reference(model, inputs)
    # Both divide, round and multiply in float32; a step of 0.5 would show.
    assert np.allclose(compiled.run(inputs)["y"], expected, atol=1e-5)
    assert value.name == "x"


def ir_reference(model: ir.Model, inputs: dict[str, np.ndarray]) -> np.ndarray:
    from onnx.reference import ReferenceEvaluator

    answers = ReferenceEvaluator(ir.to_proto(model)).run(None, inputs)
    assert isinstance(answers, list)
    return np.asarray(answers[0])


def test_float_nodes_stand_together() -> None:
    model = graph("""g (float[4] x) => (float[4] a, float[4] c)
        <float s = {0.5}, uint8 z = {0}>
        { a = Ceil(x)  q = QuantizeLinear(x, s, z)  b = Floor(x)
          d = DequantizeLinear(q, s, z)  c = Max(b, d) }""")
    runs = cluster(model.graph, lambda node: not has_rule(node))
    names = [[node.op_type for node in run] for run in runs]
    assert names == [["QuantizeLinear"], ["DequantizeLinear"], ["Ceil", "Floor", "Max"]]


def test_any_text_may_name_a_value() -> None:
    model = graph("g (float[1,4] x) => (float[1,4] y) { a = Neg(x)  b = Abs(a)  y = Neg(b) }")
    for name, node in zip(("a b/c", "ä\n:0"), model.graph, strict=False):
        node.outputs[0].name = name
    (inputs,) = samples(model, 1)
    compiled = compile_model(model, "x86-vnni", calibration=[inputs])
    assert np.array_equal(compiled.run(inputs)["y"], -np.abs(inputs["x"]))


def test_a_model_that_computes_nothing_is_refused() -> None:
    model = graph("g (float[1,4] x) => (float[1,4] y) { y = Identity(x) }")
    with pytest.raises(CompileError, match="it computes nothing"):
        compile_model(model, "x86-vnni", calibration=samples(model, 1))


def test_an_index_beyond_its_table_reads_its_end() -> None:
    model = graph("""g (int64[3] i) => (float[3] y) <float[4] table = {1, 2, 3, 4}>
        { y = Gather(table, i) }""")
    compiled = compile_model(model, "x86-vnni", calibration=[{"i": np.array([0, 1, -1])}])
    answers = {(0, 3, -1): [1, 4, 4], (9, 2**40, 0): [4, 4, 1], (-9, -4, 1): [1, 1, 2]}
    for indices, expected in answers.items():
        assert compiled.run({"i": np.array(indices, np.int64)})["y"].tolist() == expected


COMPUTED = {
    "a function of others": "g (float[4] x) => (float[4] y) { y = Celu(x) }",
    "the mean beside a LayerNormalization": """g (float[2,4] x) => (float[2,4] y, float[2,1] m)
        <float[4] s = {1, 2, 3, 4}> { y, m = LayerNormalization(x, s) }""",
    "an index that a definition makes": """g (float[3,5,2] x) => (float y)
        <int64[3,2] t = {4, 3, 2, 4, 1, 0}>
        { y = SoftmaxCrossEntropyLoss <ignore_index = 2> (x, t) }""",
    "a running sum": """g (float[2,5,3] x) => (float[2,5,3] y) <int64 axis = {-2}>
        { y = CumSum <exclusive = 1, reverse = 1> (x, axis) }""",
    "an integer power": """g (float[6] x) => (float[6] y) <int64 two = {2}>
        { i = Cast <to = 7> (x)  p = Pow(i, two)  q = Cast <to = 1> (p)  y = Add(q, x) }""",
    "a root of integers": """g (float[6] x) => (float[6] y) <float half = {0.5}>
        { a = Abs(x)  s = Add(a, a)  i = Cast <to = 7> (s)  p = Pow(i, half)
          y = Cast <to = 1> (p) }""",
    "the maximum of what is masked out": """g (float[2,4] x) => (float[2,1] y)
        <int64[1] axes = {1}, float low = {-inf}, float[2,1] zero = {0, 1}>
        { c = Less(zero, x)  m = Where(c, x, low)  a = Softplus(m)  b = Log(a)
          y = ReduceMax(b, axes) }""",
}


@pytest.mark.parametrize("text", COMPUTED.values(), ids=COMPUTED)
def test_computes_as_onnxruntime(text: str) -> None:
    model = graph(text)
    (inputs,) = samples(model, 1)
    compiled = compile_model(model, "x86-vnni", calibration=[inputs])
    expected = oracle.run(compiled.integer_graph, inputs)
    for name, array in compiled.run(inputs).items():
        # Both compute in float32, a handful of steps in another order.
        assert np.allclose(array, expected[name], rtol=1e-5, atol=1e-6), name


@pytest.mark.parametrize("op_type", ["ArgMax", "ArgMin"])
def test_the_first_of_equal_numbers_at_the_end_of_the_type(op_type: str) -> None:
    model = graph(f"""g (float[2,3] x) => (int64[2,1] y)
        {{ i = Cast <to = 2> (x)  y = {op_type} <axis = 1> (i) }}""")
    compiled = compile_model(model, "x86-vnni", calibration=samples(model, 1))
    least, most = np.zeros((1, 3), np.float32), np.full((1, 3), 255, np.float32)
    y = compiled.run({"x": np.concatenate([least, most])})["y"]
    assert np.array_equal(y, np.zeros((2, 1)))


def test_softplus_keeps_what_is_small_beside_one() -> None:
    model = graph("g (float[5] x) => (float[5] y) { y = Softplus(x) }")
    x = np.array([-90, -20, -10, 0, 50], np.float32)
    compiled = compile_model(model, "x86-vnni", calibration=[{"x": x}])
    exact = np.logaddexp(0, x.astype(np.float64))
    # A few roundings of float32, relative to the answer itself.
    assert np.allclose(compiled.run({"x": x})["y"], exact, rtol=1e-6, atol=0)


def test_a_wrong_float_kernel_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = graph("g (float[16] x) => (float[16] y) { y = Sin(x) }")
    monkeypatch.setattr(
        islands,
        "rewritten",
        lambda proto: proto.__class__.FromString(
            proto.SerializeToString().replace(b"Sin", b"Cos")
        ),
    )
    with pytest.raises(CompileError, match="a float kernel answers wrong, one of Sin"):
        compile_model(model, "native", calibration=samples(model, 1))


def test_a_kernel_that_tvm_cannot_compile_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise tvm.error.InternalError("Unknown device id in current IR")

    model = graph("g (float[16] x) => (float[16] y) { y = Sin(x) }")
    monkeypatch.setattr(program, "compile_kernels", fails)
    with pytest.raises(CompileError, match="TVM cannot compile one of its kernels: Unknown"):
        compile_model(model, "x86-vnni", calibration=samples(model, 1))


@pytest.mark.parametrize(
    "text",
    [
        """g (float[4,4] x, int64[1,2] i, float[1,2] u) => (float[4,4] y)
        { y = ScatterElements <axis = 1> (x, i, u) }""",
        """g (float[4,4] x, int64[1,2] i, float[1] u) => (float[4,4] y)
        { y = ScatterND(x, i, u) }""",
        """g (float[4,4] x, int64[1,2] i, float[1] u) => (float[1,2] y)
        { y = GatherElements(x, i) }""",
        """g (float[4,4] x, int64[1,2] i, float[1] u) => (float[1] y)
        { y = GatherND(x, i) }""",
    ],
)
def test_an_index_beyond_its_tensor_touches_nothing_else(text: str) -> None:
    model = graph(text)
    shape = (1, 2) if "u, i" in text or "ScatterElements" in text else (1,)
    x, u = np.arange(16, dtype=np.float32).reshape(4, 4), np.full(shape, 99, np.float32)
    compiled = compile_model(
        model, "x86-vnni", calibration=[{"x": x, "i": np.array([[3, 3]]), "u": u}]
    )
    inside = compiled.run({"x": x, "i": np.array([[3, -4]]), "u": u})["y"]
    beyond = compiled.run({"x": x, "i": np.array([[2**40, -(2**40)]]), "u": u})["y"]
    assert np.array_equal(inside, beyond)


def test_islands_that_differ_in_names_alone_share_their_kernels() -> None:
    model = graph("""g (float[1,4] x) => (float[1,4] y)
        <float s = {0.1}, uint8 z = {128}, float t = {0.2}>
        { a = Sin(x)  b = QuantizeLinear(a, s, z)  c = DequantizeLinear(b, s, z)
          d = Sin(c)  e = QuantizeLinear(d, t, z)  f = DequantizeLinear(e, t, z)
          y = Cos(f) }""")
    isa = TARGETS["x86-vnni"].lowering.isa  # type: ignore[attr-defined]
    inferred = onnx.shape_inference.infer_shapes(ir.to_proto(model))
    known = ir.from_proto(inferred).graph
    module = emitted(known, Emitter(known, isa), known.outputs)
    names = [variable.name_hint for variable in module.functions]
    assert len([name for name in names if name.startswith("island")]) == 2
