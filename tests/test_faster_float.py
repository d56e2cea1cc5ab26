"""The choice of a region: integers, unless their borders cost more than they save."""

from __future__ import annotations

import dataclasses

import pytest

from qcompile.compiler import compile_model
from qcompile.config import CompileConfig, Override
from qcompile.schemes.placement import place
from qcompile.speeds import Speeds
from qcompile.targets import TARGETS
from tests.nets import net, samples
from tests.quantization import target, typed

SPEEDS = Speeds(
    source="none: round numbers",
    dots=400,
    fmas=100,
    launch=50,
    quantize=0.1,
    dequantize=0.1,
    operators={
        "Add": (0.15, 0.12),
        "Concat": (0.04, 0.06),
        "MatMul": (0.02, 0.03),
        "MaxPool": (0.07, 0.7),
        "other": (0.03, 0.3),
    },
)
TARGET = dataclasses.replace(target(without=("Erf",)), speeds=SPEEDS)
IMAGE = "float[1,16,32,32]"

INTEGER = {
    "a function before a product": f"""g ({IMAGE} x, float[32,8] w) => (float[1,16,32,8] y)
         {{ e = Erf(x)  s = Sigmoid(e)  y = MatMul(s, w) }}""",
    "a pool of what a product gives, read by a float": f"""
        g ({IMAGE} x, float[32,32] w) => ({IMAGE} y)
        {{ c = MatMul(x, w)
          p = MaxPool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (c)  y = Erf(p) }}""",
    "floats joined for a product": """g (float[512,32] x, float[32,64] w) => (float[1024,64] y)
        { a = Erf(x)  b = Erf(a)  c = Concat <axis = 0> (a, b)  y = MatMul(c, w) }""",
    "a product between floats": """g (float[256,64] x, float[64,64] w) => (float[256,64] y)
        { a = Erf(x)  m = MatMul(a, w)  y = Erf(m) }""",
    "a product of the input, small as it is": """
        g (float[4096,64] x, float[64,1] w) => (float[4096,1] y)
         { m = MatMul(x, w)  y = Erf(m) }""",
    "a product between integers, small as it is": """
        g (float[4096,64] x, float[64,1] w, float[1,64] v) => (float[4096,64] y)
        { a = Erf(x)  m = MatMul(a, w)  y = MatMul(m, v) }""",
    "what would save next to nothing": """g (float[1,16] x, float[16,16] w) => (float[1,16] y)
        { a = Erf(x)  b = Erf(a)  c = Add(a, b)  y = MatMul(c, w) }""",
}

FLOAT = {
    "a sum of floats that a product reads": (
        """g (float[512,32] x, float[32,8] w) => (float[512,8] y)
        { a = Erf(x)  b = Erf(a)  c = Add(a, b)  y = MatMul(c, w) }""",
        ["c"],
    ),
    "parts joined for a float": (
        """g (float[512,32] x, float[32,32] w, float[32,32] v) => (float[1024,32] y)
        { a = MatMul(x, w)  b = MatMul(x, v)  c = Concat <axis = 0> (a, b)  y = Erf(c) }""",
        ["c"],
    ),
    "a product that is hardly more than its borders": (
        """g (float[4096,64] x, float[64,1] w) => (float[4096,1] y)
        { a = Erf(x)  m = MatMul(a, w)  y = Erf(m) }""",
        ["m"],
    ),
    "two steps, neither of them by itself": (
        """g (float[512,32] x, float[32,32] w, float[32,32] u, float[32,2] v)
          => (float[512,66] y)
        { a = MatMul(x, w)  b = MatMul(x, u)  c = Concat <axis = 1> (a, b)
          e = MatMul(x, v)  d = Concat <axis = 1> (c, e)  y = Erf(d) }""",
        ["c", "d"],
    ),
}


def floats(text: str, config: CompileConfig | None = None) -> dict[str, str]:
    """Return why nodes stay float for their speed, by output."""
    model = typed(net(text))
    reasons = place(model.graph, TARGET, config or CompileConfig()).float_reasons
    return {
        str(node.outputs[0].name): why
        for node, why in reasons.items()
        if "int8 would take" in why
    }


@pytest.mark.parametrize("text", INTEGER.values(), ids=INTEGER)
def test_integers(text: str) -> None:
    assert floats(text) == {}


@pytest.mark.parametrize(("text", "expected"), FLOAT.values(), ids=FLOAT)
def test_floats(text: str, expected: list[str]) -> None:
    assert list(floats(text)) == expected


def test_the_reason_says_both_times() -> None:
    """Two QuantizeLinears and a sum against a sum and one: 16384 elements."""
    text, _ = FLOAT["a sum of floats that a product reads"]
    integer, real = 50 * 3 + 16384 * (0.1 + 0.1 + 0.15), 50 * 2 + 16384 * (0.1 + 0.12)
    assert floats(text) == {
        "c": f"by the cost model {real / 1e6:.4f} ms: int8 would take {integer / 1e6:.4f} ms, "
        "its borders cost more than it saves"
    }


def test_the_config_decides() -> None:
    text, _ = FLOAT["a sum of floats that a product reads"]
    assert floats(text, CompileConfig(ops={"Add": Override(float=False)})) == {}


def test_a_target_that_knows_no_speeds_chooses_nothing() -> None:
    text, _ = FLOAT["a sum of floats that a product reads"]
    placement = place(typed(net(text)).graph, target(without=("Erf",)), CompileConfig())
    assert [region.anchor.op_type for region in placement.regions] == ["Add", "MatMul"]


def test_the_graph_before_and_after() -> None:
    """The sum is float, so one tensor is quantized where else two would be."""
    text = """g (float[512,64] x, float[64,32] w) => (float[512,32] y)
        { a = Sin(x)  b = Cos(x)  c = Add(a, b)  y = MatMul(c, w) }"""
    model = net(text)
    found = {}
    for forced in (False, True):
        config = CompileConfig(
            recipe="static-int8",
            float_ops=("Sin", "Cos"),
            ops={"Add": Override(float=False)} if forced else {},
        )
        compiled = compile_model(
            model, "x86-vnni", calibration=samples(model, 2), config=config
        )
        found[forced] = [node.op_type for node in compiled.integer_graph.graph]
        why = [island["reason"] for island in compiled.report["float_islands"]]
        assert any("int8 would take" in reason for reason in why) != forced
    assert found[True].count("QuantizeLinear") == 2
    assert found[False] == ["Sin", "Cos", "Add", "QuantizeLinear", "QMatMul"]


def test_a_table_needs_a_row_for_the_rest() -> None:
    with pytest.raises(ValueError, match="other"):
        dataclasses.replace(SPEEDS, operators={})


@pytest.mark.parametrize("name", [name for name in TARGETS if name.startswith("x86")])
def test_x86_knows_its_speeds(name: str) -> None:
    speeds = TARGETS[name].speeds
    assert speeds is not None
    assert speeds.dots > speeds.fmas
    assert speeds.source.startswith("python benchmarks/region_times.py")
