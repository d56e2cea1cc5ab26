"""Schemes: which tensors share a scale, their range and type, and what the config changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from qcompile.calibration.calibrators import Observation
from qcompile.config import CompileConfig, Override
from qcompile.errors import CompileError, ConfigError
from qcompile.ops import FLOAT_REASON
from qcompile.passes.choose_schemes import ChooseSchemes, observed_values
from qcompile.quant import S8, S8_AFFINE, S8_PER_CHANNEL, U8, QParams
from qcompile.schemes.placement import TAIL
from qcompile.target import OpSupport, Target
from tests.graphs import graph, outline
from tests.quantization import choose, set_constants, target, typed

MIN_MAX = CompileConfig(calibrator="min-max")

IDENTITY = "<float[2,2] w = {1., 0., 0., 1.}>"
PRODUCT = f"g (float[1,2] x) => (float[1,2] y) {IDENTITY} {{ y = MatMul(x, w) }}"
ONE_TO_EIGHT = {"x": np.array([[-2.0, 8.0]], np.float32)}
IMAGE = {"x": np.arange(-8, 8, dtype=np.float32).reshape(1, 1, 4, 4)}


def schemes(model: ir.Model) -> dict[str, QParams]:
    """Return the parameters by value name."""
    values = [*model.graph.inputs, *model.graph.initializers.values()]
    values += [value for node in model.graph for value in node.outputs]
    return {str(v.name): v.meta["qparams"] for v in values if v.meta.get("qparams")}


def covered(qparams: QParams) -> tuple[float, float]:
    """Return the least and the greatest number that the parameters stand for."""
    ends = qparams.dequantize(np.array(qparams.spec.bounds, qparams.zero_point.dtype))
    return float(ends[0]), float(ends[1])


RANGES = {
    "three branches of a concat": (
        f"""g (float[1,2] x) => (float[1,6] y) {IDENTITY}
        {{ a = MatMul(x, w)  r = Relu(a)  n = MatMul(x, w)  s = MatMul(x, w)  t = Add(s, s)
          c = Concat <axis=1> (r, n, t)  y = Add(c, c) }}""",
        ONE_TO_EIGHT,
        {"x": (-2, 8), "s": (-2, 8)} | dict.fromkeys("rntc", (-4, 16)),
    ),
    "moves from the graph input on": (
        """g (float[1,1,4,4] x) => (float[1,1] y) <float[1,1] w = {1.}>
        { a = MaxPool <kernel_shape=[2,2]> (x)  b = MaxPool <kernel_shape=[3,3]> (a)
          f = Flatten(b)  y = MatMul(f, w) }""",
        IMAGE,
        dict.fromkeys("xabf", (-8, 7)),
    ),
    "a constant in a concat widens it": (
        """g (float[1,2] x) => (float[1,4] y)
        <float[2,2] w = {1., 0., 0., 1.}, float[1,2] k = {-9.0, 30.0}>
        { a = MatMul(x, w)  c = Concat <axis=1> (a, k)  y = Add(c, c) }""",
        ONE_TO_EIGHT,
        {"x": (-2, 8)} | dict.fromkeys("akc", (-9, 30)),
    ),
    "what a concat reads and others too keeps its own range": (
        f"""g (float[1,2] x) => (float[1,4] y, float[1,2] z) {IDENTITY}
        {{ a = MatMul(x, w)  n = Neg(x)  t = Add(n, n)  c = Concat <axis=1> (a, t)
          y = Add(c, c)  z = MatMul(a, w) }}""",
        ONE_TO_EIGHT,
        {"x": (-2, 8), "a": (-2, 8)} | dict.fromkeys("tc", (-16, 8)),
    ),
    "so does what it reads a move of": (
        """g (float[1,2] x) => (float[1,4] y, float[1,2] z) <float[2,2] w = {1., 0., 0., 1.}>
        { f = Flatten(x)  n = Neg(x)  t = Add(n, n)  c = Concat <axis=1> (f, t)
          y = Add(c, c)  z = MatMul(x, w) }""",
        ONE_TO_EIGHT,
        {"x": (-2, 8), "f": (-2, 8)} | dict.fromkeys("tc", (-16, 8)),
    ),
    "what only float nodes read besides a concat stays float": (
        """g (float[1,2] x) => (float[1,1] y, float[1,2] z)
        <float[2,2] w = {1., 0., 0., 1.}, float[4,1] v = {1., 2., 3., 4.}>
        { a = MatMul(x, w)  z = Hardmax(a)  c = Concat <axis=1> (a, z)  y = MatMul(c, v) }""",
        ONE_TO_EIGHT,
        {"x": (-2, 8), "c": (-2, 8)},
    ),
    "only a table reads it, and is flat beyond": (
        """g (float[1,2] x) => (float[1,2] y) <float[2,2] w = {4., 0., 0., 1.}>
        { a = MatMul(x, w)  h = HardSwish(a)  y = MatMul(h, w) }""",
        ONE_TO_EIGHT,
        {"x": (-2, 8), "a": (-2.98, 8), "h": (0, 8)},  # at -2.98 it is a quarter of a step
    ),
    "somebody else reads it too": (
        """g (float[1,2] x) => (float[1,2] y, float[1,2] z) <float[2,2] w = {4., 0., 0., 1.}>
        { a = MatMul(x, w)  h = HardSwish(a)  y = MatMul(h, w)  z = MatMul(a, w) }""",
        ONE_TO_EIGHT,
        {"x": (-2, 8), "a": (-8, 8), "h": (0, 8)},
    ),
    "a residual is read on its own scale": (
        f"""g (float[1,2] x) => (float[1,2] y) {IDENTITY}
        {{ a = MatMul(x, w)  t = Add(a, x)  n = MatMul(t, w)  y = Neg(n)  }}""",
        ONE_TO_EIGHT,
        {"x": (-2, 8), "t": (-4, 16)},
    ),
    "a constant summand has its own range": (
        f"""g (float[1,2] x) => (float[1,2] y) {IDENTITY[:-1]}, float[2] k = {{-0.5, 1.0}}>
        {{ a = Add(x, k)  y = MatMul(a, w) }}""",
        ONE_TO_EIGHT,
        {"x": (-2, 8), "k": (-0.5, 1), "a": (-2.5, 9)},
    ),
}


@pytest.mark.parametrize(("text", "inputs", "expected"), RANGES.values(), ids=RANGES)
def test_ranges(
    text: str, inputs: dict[str, np.ndarray], expected: dict[str, tuple[float, float]]
) -> None:
    found = schemes(choose(typed(graph(text)), inputs))
    found = {name: q for name, q in found.items() if q.spec == U8}
    assert set(found) == set(expected)
    for name, qparams in found.items():
        # The zero point is rounded, so the ends move by up to half a step.
        step = float(qparams.scale)
        assert covered(qparams) == pytest.approx(expected[name], abs=0.51 * step), name
    for one in expected:
        for other in expected:
            assert (found[one] == found[other]) == (expected[one] == expected[other])


def test_a_concat_says_on_which_scale_it_reads_what_others_read_too() -> None:
    text, inputs, _ = RANGES["what a concat reads and others too keeps its own range"]
    model = choose(typed(graph(text)), inputs)
    concat = next(node for node in model.graph if node.op_type == "Concat")
    assert concat.meta["input_qparams"] == {0: schemes(model)["c"]}
    choose(model, inputs, config=CompileConfig(float_ops=("Concat",)))
    assert "input_qparams" not in concat.meta


def test_a_node_that_the_config_keeps_in_float_cuts_its_group() -> None:
    text = """g (float[1,1,4,4] x) => (float[1,1] y) <float[1,1] w = {1.}>
        { p = Abs(x)  q = Transpose <perm=[0,1,3,2]> (p)
          a = MaxPool <kernel_shape=[2,2]> (q)  b = MaxPool <kernel_shape=[3,3]> (a)
          f = Flatten(b)  y = MatMul(f, w) }"""
    whole = schemes(choose(typed(graph(text)), IMAGE))
    assert whole["p"] == whole["q"] == whole["f"]
    model = typed(graph(text))
    next(node for node in model.graph if node.outputs[0].name == "b").name = "pool"
    config = CompileConfig(calibrator="min-max", nodes={"po*": Override(float=True)})
    cut = schemes(choose(model, {"x": IMAGE["x"] * 0.5}, config=config))
    assert {"f", "b"} <= set(cut)
    reasons = {n.outputs[0].name: n.metadata_props.get(FLOAT_REASON) for n in model.graph}
    assert reasons["b"] == "the config keeps nodes 'po*' in float"
    assert cut["f"] == cut["b"]
    assert "a" not in cut


CLIPPED = """g (float[1,2] x) => (float[1,2] y)
    <float[2,2] w = {1., 0., 0., 1.}, float low = {0.}, float high = {6.}>
    { a = MatMul(x, w)  r = Clip(a, low, high)  y = MatMul(r, w) }"""


@pytest.mark.parametrize("calibrator", ["min-max", "absmax", "mse", "kl", "percentile"])
def test_a_clip_bounds_the_range_whatever_the_calibrator_says(calibrator: str) -> None:
    config = CompileConfig(calibrator=calibrator)
    found = schemes(choose(typed(graph(CLIPPED)), ONE_TO_EIGHT, config=config))
    low, high = covered(found["r"])
    assert low == 0
    assert high <= 6 * (1 + 2.0**-20)


def dtype_and_kind(qparams: QParams) -> tuple[str, bool]:
    return qparams.spec.dtype.name, qparams.spec.symmetric


BOTH = target(activation=(U8, S8_AFFINE), weight=(S8_PER_CHANNEL, S8))
CHAIN = f"""g (float[1,2] x) => (float[1,2] y) {IDENTITY}
    {{ a = MatMul(x, w)  y = MatMul(a, w) }}"""
CONFIGS = {
    "the best first": ({}, {"x": ("UINT8", False), "a": ("UINT8", False)}),
    "for an operator": (
        {"ops": {"MatMul": Override(activation="s8", symmetric=True)}},
        {"x": ("INT8", True), "a": ("INT8", True)},
    ),
    "for the node that gives it": (
        {"nodes": {"first": Override(activation="s8")}},
        {"x": ("INT8", False), "a": ("INT8", False)},
    ),
    "for the node that reads it": (
        {"nodes": {"second": Override(symmetric=True)}},
        {"x": ("UINT8", False), "a": ("UINT8", True)},
    ),
    "the producer's word counts": (
        {"nodes": {"first": Override(symmetric=False), "second": Override(symmetric=True)}},
        {"x": ("UINT8", False), "a": ("UINT8", False)},
    ),
}


def named(text: str, *names: str) -> ir.Model:
    model = typed(graph(text))
    for node, name in zip(model.graph, names, strict=True):
        node.name = name
    return model


@pytest.mark.parametrize(("fields", "expected"), CONFIGS.values(), ids=CONFIGS)
def test_the_config_chooses_types(
    fields: dict[str, Any], expected: dict[str, tuple[str, bool]]
) -> None:
    config = CompileConfig(calibrator="min-max", **fields)
    found = schemes(choose(named(CHAIN, "first", "second"), ONE_TO_EIGHT, BOTH, config))
    assert {name: dtype_and_kind(found[name]) for name in expected} == expected


def test_calibrators_by_operator() -> None:
    config = CompileConfig(calibrator="min-max", ops={"MatMul": Override(calibrator="absmax")})
    found = schemes(choose(typed(graph(PRODUCT)), ONE_TO_EIGHT, config=config))
    assert covered(found["x"]) == pytest.approx((-8, 8), abs=0.51 * float(found["x"].scale))


def test_the_type_that_most_operators_take() -> None:
    rows = (
        OpSupport(op_type="MatMul", activation=(U8, S8_AFFINE), weight=(S8_PER_CHANNEL,)),
        OpSupport(op_type="Neg", activation=(S8_AFFINE,)),
    )
    text = f"""g (float[1,2] x) => (float[1,2] y) {IDENTITY}
        {{ a = Neg(x)  b = Flatten(a)  y = MatMul(b, w) }}"""
    found = schemes(choose(typed(graph(text)), ONE_TO_EIGHT, target(rows=rows)))
    assert [found[name].spec for name in "xab"] == [S8_AFFINE] * 3


def test_weights_by_channel_or_not() -> None:
    model = "g (float[1,2] x) => (float[1,2] y) <float[2,2] w = {1., 2., 3., 4.}> {"
    text = model + " y = MatMul(x, w) }"
    assert schemes(choose(typed(graph(text)), ONE_TO_EIGHT))["w"].axis == 1
    config = CompileConfig(ops={"MatMul": Override(per_channel=False)})
    found = schemes(choose(typed(graph(text)), ONE_TO_EIGHT, config=config))["w"]
    assert found.axis is None
    assert found.scale == np.float32(4 / 127)


SHARED = """g (float[1,1,2,2] x, float[1,1,1,1] w) => (float[1,1,2,2] y)
    { a = Conv (x, w)  b = Relu(a)  y = Conv (b, w) }"""


def test_a_weight_that_two_convolutions_share_stays_shared() -> None:
    model = set_constants(graph(SHARED), {"w": [[[[3.0]]]]})
    choose(model, {"x": IMAGE["x"][:, :, :2, :2]})
    assert list(model.graph.initializers) == ["w"]


def test_a_weight_that_needs_two_scales_becomes_two() -> None:
    """Both biases overflow int32, at scales that follow from the two inputs."""
    model = set_constants(
        graph("""g (float[1,1,2,2] x, float[1,1,1,1] w, float[1] b) => (float[1,1,2,2] y)
        { a = Conv (x, w, b)  y = Conv (a, w, b) }"""),
        {"w": [[[[1e-9]]]], "b": [100.0]},
    )
    choose(model, {"x": np.full((1, 1, 2, 2), 0.01, np.float32)})
    weights = [node.inputs[1] for node in model.graph]
    assert weights[0] is not weights[1]
    for node, weight in zip(model.graph, weights, strict=True):
        assert weight is not None
        assert weight.const_value is not None
        assert weight.const_value.numpy().item() == np.float32(1e-9)
        x = node.inputs[0]
        assert x is not None
        steps = 100.0 / (float(x.meta["qparams"].scale) * weight.meta["qparams"].scale)
        assert 2**24 <= steps <= 2**31


def test_a_weight_that_float_nodes_read_too_keeps_their_copy() -> None:
    model = named(
        f"""g (float[2,2] x) => (float[2,2] y) {IDENTITY}
        {{ a = MatMul(x, w)  b = Erf(w)  y = Add(a, b) }}""",
        *"aby",
    )
    choose(model, {"x": np.eye(2, dtype=np.float32)}, target(without=("Erf",)))
    product, erf = list(model.graph)[:2]
    assert product.inputs[1] is not erf.inputs[0]
    assert set(schemes(model)) >= {"x", "w_copy"}
    assert "w" not in schemes(model)


def test_the_float_reason_is_written_and_taken_back() -> None:
    text = f"""g (float[1,2] x) => (float[1,2] y) {IDENTITY}
        {{ a = MatMul(x, w)  y = Softmax(a) }}"""
    model = choose(typed(graph(text)), ONE_TO_EIGHT)
    props = [node.metadata_props for node in model.graph]
    assert props == [{}, {FLOAT_REASON: TAIL}]
    config = CompileConfig(calibrator="min-max", ops={"Softmax": Override(float=False)})
    choose(model, ONE_TO_EIGHT, config=config)
    assert props == [{}, {}]
    assert set(schemes(model)) == {"x", "w", "a", "y"}
    config = CompileConfig(float_ops=("MatMul", "Softmax"))
    choose(model, ONE_TO_EIGHT, config=config)
    assert schemes(model) == {}


def test_a_branch_stays_float() -> None:
    text = """g (bool c, float[2] x) => (float[2] y) <float[2] k = {1.0, 2.0}>
        { y = If (c) <then_branch: graph = t () => (float[2] b) { b = Add(x, x) },
                      else_branch: graph = e () => (float[2] d) { d = Relu(x) }> }"""
    model = typed(graph(text))
    before = outline(model)
    assert ChooseSchemes(target(), {}, MIN_MAX)(model).modified
    reasons = [
        node.metadata_props[FLOAT_REASON]
        for node in ir.traversal.RecursiveGraphIterator(model.graph)
    ]
    assert reasons[1:] == ["it is inside a sub-graph"] * 2
    assert outline(model) == before


def test_observed_values() -> None:
    text, _, _ = RANGES["three branches of a concat"]
    names = observed_values(typed(graph(text)).graph, target(), MIN_MAX)
    assert names == ["x", "s", "r", "n", "t", "c"]


PER_TENSOR = target(weight=(S8,))
REFUSED = {
    "not observed": (
        PRODUCT,
        target(),
        {},
        "value 'x': no calibration data reached it\n"
        "  hint: calibrate the values that observed_values names",
    ),
    "no such type": (
        PRODUCT,
        target(),
        {"ops": {"MatMul": Override(activation="s8")}},
        "value 'x': table-top has no MatMul kernel for activation = 's8'\n"
        "  hint: its activations are UINT8",
    ),
    "no affine kernel": (
        PRODUCT,
        target(activation=(S8,)),
        {"ops": {"MatMul": Override(symmetric=False)}},
        "value 'x': table-top has no MatMul kernel for symmetric = False\n"
        "  hint: its activations are symmetric INT8",
    ),
    "no scale a channel": (
        PRODUCT,
        PER_TENSOR,
        {"ops": {"MatMul": Override(per_channel=True)}},
        "node 'only': table-top takes one scale for the weights of MatMul\n"
        "  hint: leave out per_channel = true",
    ),
}


@pytest.mark.parametrize(
    ("text", "device", "fields", "message"), REFUSED.values(), ids=REFUSED
)
def test_refuses(text: str, device: Target, fields: dict[str, Any], message: str) -> None:
    config = CompileConfig(calibrator="min-max", **fields)
    seen = Observation()
    seen.add(ONE_TO_EIGHT["x"])
    observations = {"x": seen} if fields else {"x": Observation()}
    with pytest.raises(CompileError) as caught:
        ChooseSchemes(device, observations, config)(named(text, "only"))
    assert str(caught.value) == message
    assert isinstance(caught.value, ConfigError) == bool(fields)


def test_refuses_a_weight_and_numbers_that_would_vanish() -> None:
    for weight, number, message in (
        (1e-40, 1.0, "node 'tiny': its weight is too small to quantize"),
        (1.0, 1e-40, "value 'x': its numbers, 0 to 1e-40, are too small to quantize"),
    ):
        model = set_constants(
            graph("g (float[1,1] x, float[1,1] w) => (float[1,1] y) { y = MatMul(x, w) }"),
            {"w": [[weight]]},
        )
        next(iter(model.graph)).name = "tiny"
        seen = Observation()
        seen.add(np.array([[0, number]], np.float32))
        with pytest.raises(CompileError, match=message):
            ChooseSchemes(target(), {"x": seen}, MIN_MAX)(model)


def test_refuses_a_weight_that_leaves_float32() -> None:
    model = set_constants(
        graph("g (float[1,1] x, float[1,1] w) => (float[1,1] y) { y = MatMul(x, w) }"),
        {"w": [[3e38]]},
    )
    next(iter(model.graph)).name = "huge"
    seen = Observation()
    seen.add(np.array([[-1e9, 1e9]], np.float32))
    with pytest.raises(CompileError, match="node 'huge': its weight or bias is too large"):
        ChooseSchemes(target(), {"x": seen}, MIN_MAX)(model)
