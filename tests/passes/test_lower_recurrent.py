"""LowerRecurrent: graphs before and after, onnxruntime's answers, and ONNX's own tests."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from onnx.backend.test.case import node as onnx_cases
from onnx.backend.test.case.node import gru, lstm, rnn
from onnx.backend.test.case.test_case import TestCase

from qcompile.errors import UnsupportedOpError
from qcompile.passes.lower_recurrent import LowerRecurrent
from tests.answers import UNIT, Array, run
from tests.graphs import assert_graph, graph

WEIGHTS = "float[1,1,2] w = {1.0, 2.0}, float[1,1,1] r = {3.0}"
TURNED = "float[2,1] v = {1.0, 2.0}, float[1,1] q = {3.0}"
ENDS = "int64[1] a = {0}, int64[1] b = {1}, int64[1] c = {2}"

CHANGES = {
    "two steps": (
        f"""g (float[2,1,2] x) => (float[2,1,1,1] y, float[1,1,1] last) <{WEIGHTS}>
        {{ y, last = RNN <hidden_size = 1> (x, w, r) }}""",
        f"""g (float[2,1,2] x) => (float[2,1,1,1] y, float[1,1,1] last)
          <{TURNED}, {ENDS}, int64[4] s = {{2, 1, 1, 1}}>
        {{ p = MatMul (x, v)  e = Slice (p, a, b, a)  f = Tanh (e)  g = Slice (p, b, c, a)
          h = MatMul (f, q)  i = Add (g, h)  last = Tanh (i)
          j = Concat <axis = 0> (f, last)  y = Reshape (j, s) }}""",
    ),
    "backwards, with a bias": (
        f"""g (float[2,1,2] x) => (float[1,1,1] last) <{WEIGHTS}, float[1,2] b = {{4.0, 5.0}}>
        {{ y, last = RNN <hidden_size = 1, direction = "reverse"> (x, w, r, b) }}""",
        f"""g (float[2,1,2] x) => (float[1,1,1] last) <{TURNED}, {ENDS}, float[1] o = {{9.0}}>
        {{ p = MatMul (x, v)  d = Add (p, o)  e = Slice (d, b, c, a)  f = Tanh (e)
          g = Slice (d, a, b, a)  h = MatMul (f, q)  i = Add (g, h)  last = Tanh (i) }}""",
    ),
    "an initial state of zeros": (
        f"""g (float[1,1,2] x) => (float[1,1,1] last) <{WEIGHTS}, float[1,1,1] h = {{0.0}}>
        {{ y, last = RNN <hidden_size = 1> (x, w, r, , , h) }}""",
        f"""g (float[1,1,2] x) => (float[1,1,1] last) <{TURNED}>
        {{ p = MatMul (x, v)  last = Tanh (p) }}""",
    ),
    "inside a branch": (
        f"""g (bool k, float[1,1,2] x) => (float[1,1,1] last) <{WEIGHTS}>
        {{ last = If (k) <
            then_branch: graph = i () => (float[1,1,1] p)
              {{ y, p = RNN <hidden_size = 1> (x, w, r) }},
            else_branch: graph = e () => (float[1,1,1] n)
              {{ z, n = RNN <hidden_size = 1> (x, w, r) }}> }}""",
        f"""g (bool k, float[1,1,2] x) => (float[1,1,1] last) <{TURNED}>
        {{ last = If (k) <
            then_branch: graph = i () => (float[1,1,1] p)
              {{ c = MatMul (x, v)  p = Tanh (c) }},
            else_branch: graph = e () => (float[1,1,1] n)
              {{ d = MatMul (x, v)  n = Tanh (d) }}> }}""",
    ),
}

KEPT = {
    "an open length": f"""g (float[s,1,2] x) => (float[1,1,1] last) <{WEIGHTS}>
        {{ y, last = RNN <hidden_size = 1> (x, w, r) }}""",
    "a weight of unknown shape": """g (float[2,1,2] x, float[d,1,2] w, float[1,1,1] r) =>
        (float[1,1,1] last) { y, last = RNN <hidden_size = 1> (x, w, r) }""",
}

REFUSED = {
    "shorter lengths": (
        f"""g (float[2,1,2] x) => (float[1,1,1] last) <{WEIGHTS}, int32[1] n = {{1}}>
        {{ [rnn] y, last = RNN <hidden_size = 1> (x, w, r, , n) }}""",
        "its sequence_lens is not constantly the whole length",
    ),
    "computed lengths": (
        f"""g (float[2,1,2] x, int32[1] n) => (float[1,1,1] last) <{WEIGHTS}>
        {{ [rnn] y, last = RNN <hidden_size = 1> (x, w, r, , n) }}""",
        "its sequence_lens is not constantly the whole length",
    ),
    "a long sequence": (
        f"""g (float[513,1,2] x) => (float[1,1,1] last) <{WEIGHTS}>
        {{ [rnn] y, last = RNN <hidden_size = 1> (x, w, r) }}""",
        "its sequence has 513 steps, and 1 to 512 are unrolled",
    ),
    "an unknown activation": (
        f"""g (float[2,1,2] x) => (float[1,1,1] last) <{WEIGHTS}>
        {{ [rnn] y, last = RNN <hidden_size = 1, activations = ["Gelu"]> (x, w, r) }}""",
        "its activation 'Gelu' is unknown",
    ),
    "an activation without its parameter": (
        f"""g (float[2,1,2] x) => (float[1,1,1] last) <{WEIGHTS}>
        {{ [rnn] y, last = RNN <hidden_size = 1, activations = ["Affine"]> (x, w, r) }}""",
        "its activation Affine lacks a parameter",
    ),
}

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
FUNCTIONS = {"LSTM": 3, "GRU": 2, "RNN": 1}
ALPHAS = ("Elu", "LeakyRelu", "HardSigmoid", "ScaledTanh")
BETAS = ("HardSigmoid", "ScaledTanh")


@pytest.mark.parametrize(("before", "after"), CHANGES.values(), ids=CHANGES)
def test_changes(before: str, after: str) -> None:
    result = LowerRecurrent()(graph(before))
    assert result.modified
    assert_graph(result.model, after)
    assert not LowerRecurrent()(result.model).modified


@pytest.mark.parametrize("before", KEPT.values(), ids=KEPT)
def test_keeps(before: str) -> None:
    result = LowerRecurrent()(graph(before))
    assert not result.modified
    assert_graph(result.model, before)


@pytest.mark.parametrize(("before", "problem"), REFUSED.values(), ids=REFUSED)
def test_refuses(before: str, problem: str) -> None:
    with pytest.raises(UnsupportedOpError) as caught:
        LowerRecurrent()(graph(before))
    assert caught.value.problem == problem
    assert caught.value.where.endswith("(RNN)")
    assert caught.value.hint


@st.composite
def recurrent_models(draw: st.DrawFn) -> onnx.ModelProto:
    """Draw a node with any attributes; |h R| < 1, so that rounding errors do not grow."""
    op_type = draw(st.sampled_from(sorted(GATES)))
    direction = draw(st.sampled_from(["forward", "reverse", "bidirectional"]))
    count = 2 if direction == "bidirectional" else 1
    steps, batch, width, size = (draw(st.integers(1, most)) for most in (5, 3, 4, 4))
    noise = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))

    def uniform(*shape: int) -> Array:
        return noise.uniform(-1 / size, 1 / size, shape).astype(np.float32)

    rows = GATES[op_type] * size
    arrays = {"W": uniform(count, rows, width), "R": uniform(count, rows, size)}
    names = ["X", "W", "R", "", "", "", "", ""]
    states = {5: "h", 6: "c"} if op_type == "LSTM" else {5: "h"}
    optional: dict[int, tuple[str, tuple[int, ...]]] = {3: ("B", (count, 2 * rows))}
    optional |= {index: (name, (count, batch, size)) for index, name in states.items()}
    if op_type == "LSTM":
        optional[7] = ("P", (count, 3 * size))
    for index, (name, shape) in optional.items():
        if draw(st.booleans()):
            names[index], arrays[name] = name, uniform(*shape)
    if draw(st.booleans()):
        names[4], arrays["n"] = "n", np.full(batch, steps, np.int32)
    while not names[-1]:
        names.pop()
    outputs = ["Y", "Y_h", "Y_c"][: 3 if op_type == "LSTM" else 2]
    shapes = [[steps, count, batch, size], *[[count, batch, size]] * 2]
    node = helper.make_node(op_type, names, outputs, hidden_size=size, direction=direction)
    node.attribute.extend(_attributes(draw, op_type, count))
    return helper.make_model(
        helper.make_graph(
            [node],
            "g",
            [helper.make_tensor_value_info("X", 1, [steps, batch, width])],
            [
                helper.make_tensor_value_info(name, 1, shape)
                for name, shape in zip(outputs, shapes, strict=False)
            ],
            [numpy_helper.from_array(array, name) for name, array in arrays.items()],
        ),
        opset_imports=[helper.make_opsetid("", 21)],
        ir_version=10,
    )


def _attributes(draw: st.DrawFn, op_type: str, count: int) -> list[onnx.AttributeProto]:
    found: dict[str, object] = {}
    if draw(st.booleans()):
        found["clip"] = draw(st.sampled_from([0.25, 1.0]))
    if op_type == "GRU":
        found["linear_before_reset"] = draw(st.integers(0, 1))
    if op_type == "LSTM":
        found["input_forget"] = draw(st.integers(0, 1))
    if draw(st.booleans()):
        known = st.sampled_from(["Sigmoid", "Tanh", "Relu", "Softsign", *ALPHAS])
        one = [draw(known) for _ in range(FUNCTIONS[op_type])]
        found["activations"] = one * count
        found["activation_alpha"] = [0.5 for name in one * count if name in ALPHAS]
        found["activation_beta"] = [0.25 for name in one * count if name in BETAS]
    given = {name: value for name, value in found.items() if value != []}
    return [helper.make_attribute(name, value) for name, value in given.items()]


@settings(max_examples=60, deadline=None)
@given(model=recurrent_models(), seed=st.integers(0, 99))
def test_as_onnxruntime(model: onnx.ModelProto, seed: int) -> None:
    (given_x,) = model.graph.input
    shape = [size.dim_value for size in given_x.type.tensor_type.shape.dim]
    x = np.random.default_rng(seed).uniform(-2, 2, shape).astype(np.float32)
    expected = run(model, {"X": x})
    lowered = LowerRecurrent()(ir.from_proto(model))
    assert lowered.modified
    after = ir.to_proto(lowered.model)
    onnx.checker.check_model(after, full_check=True)
    assert {node.op_type for node in after.graph.node}.isdisjoint(GATES)
    # A sum has at most 12 terms of at most 2 each and a function 8 more roundings, of slope 1
    # at most; |h R| < 1 and c' = f c + i c~ hand a step's error on at most once, twice in all.
    bound = 2 * shape[0] * (12 * 2 + 8) * UNIT
    for got, wanted in zip(run(after, {"X": x}), expected, strict=True):
        assert got.shape == wanted.shape
        size = max(1.0, float(np.abs(wanted).max(initial=0)))
        difference = np.abs(got.astype(np.float64) - wanted.astype(np.float64))
        assert difference.max() <= bound * size


CASES: dict[str, TestCase] = {
    case.name: case
    # The list that importing these modules fills; the public way imports all operators.
    for case in onnx_cases._NodeTestCases
    if case.name.removeprefix("test_").startswith(("lstm", "gru", "rnn", "simple_rnn"))
}


def test_there_are_cases_of_each() -> None:
    for module in (gru, lstm, rnn):
        name = module.__name__.rpartition(".")[2]
        assert sum(name in case for case in CASES) >= 6


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_onnx_cases(case: TestCase) -> None:
    """Weights are inputs there; the lengths of a sequence become a constant."""
    assert case.model is not None
    assert case.data_sets
    for inputs, wanted in case.data_sets:
        model = onnx.ModelProto()
        model.CopyFrom(case.model)
        model.opset_import[0].version, model.ir_version = 21, 10
        names = [value.name for value in model.graph.input]
        feeds = dict(zip(names, inputs, strict=True))
        for value in case.model.graph.input:
            if value.name == "sequence_lens":
                model.graph.input.remove(value)
                fixed = numpy_helper.from_array(feeds.pop(value.name), value.name)
                model.graph.initializer.append(fixed)
        lowered = LowerRecurrent()(ir.from_proto(model))
        assert lowered.modified
        got = run(ir.to_proto(lowered.model), feeds)
        for left, right in zip(got, wanted, strict=True):
            # As these tests ask of every runtime.
            np.testing.assert_allclose(np.float64(left), right, case.rtol, case.atol)
