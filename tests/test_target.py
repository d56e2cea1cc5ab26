"""Targets and limits: rows are checked, and refusals say why."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from qcompile.errors import UnsupportedOpError
from qcompile.limits import AttributeIs, ConstantInput, InputRank, OneOutput
from qcompile.quant import U8
from qcompile.target import Limit, OpSupport
from tests.graphs import graph
from tests.quantization import target

RELU = OpSupport(op_type="Relu", activation=(U8,))

LIMITS: dict[str, tuple[Limit, str, str | None]] = {
    "rank, one of them": (InputRank((1, 2)), "y = Relu(x)", None),
    "rank, another": (
        InputRank((3, 4)),
        "y = Relu(x)",
        "input 0 has rank 2, the kernel takes 3 or 4",
    ),
    "rank of the second input": (
        InputRank((2,), index=1),
        "y = Add(x, k)",
        "input 1 has rank 1, the kernel takes 2",
    ),
    "rank, not known": (
        InputRank((2,)),
        "a = Relu(x)  y = Relu(a)",
        "the shape of input 0 is unknown",
    ),
    "a constant": (ConstantInput(1), "y = Add(x, k)", None),
    "a constant behind a DequantizeLinear": (
        ConstantInput(1),
        "d = DequantizeLinear(q, s, z)  y = Add(x, d)",
        None,
    ),
    "no constant": (ConstantInput(0), "y = Add(x, k)", "input 0 is not a constant"),
    "no such input": (ConstantInput(1), "y = Relu(x)", "input 1 is not a constant"),
    "computed": (
        ConstantInput(1),
        "a = Relu(x)  y = Add(x, a)",
        "input 1 is not a constant",
    ),
    "attribute absent": (AttributeIs("alpha", 1.0), "y = Elu(x)", None),
    "attribute as wanted": (AttributeIs("alpha", 1.0), "y = Elu <alpha=1.0> (x)", None),
    "attribute": (
        AttributeIs("alpha", 1.0),
        "y = Elu <alpha=2.0> (x)",
        "alpha is 2.0, the kernel takes 1.0",
    ),
    "outputs": (
        OneOutput(),
        "a, i = TopK(x, n)  b = Cast <to=1> (i)  y = Add(a, b)",
        "2 outputs are used, the kernel gives one",
    ),
    "an output that is not used": (OneOutput(), "y, i = TopK(x, n)", None),
}


@pytest.mark.parametrize(("limit", "body", "reason"), LIMITS.values(), ids=LIMITS)
def test_limits(limit: Limit, body: str, reason: str | None) -> None:
    model = graph(f"""g (float[2,2] x) => (float[2,2] y)
        <float[2] k = {{1., 2.}}, int8[2] q = {{1, 2}}, float s = {{1.}}, int8 z = {{0}},
         int64[1] n = {{2}}> {{ {body} }}""")
    asked = [node for node in model.graph if node.op_type != "DequantizeLinear"]
    assert limit(asked[0 if "TopK" in body else -1]) == reason


def test_a_constant_that_a_caller_may_replace_is_none() -> None:
    model = graph("""g (float[2] x, float[2] k) => (float[2] y)
        <float[2] k = {1., 2.}> { y = Add(x, k) }""")
    assert ConstantInput(1)(next(iter(model.graph))) == "input 1 is not a constant"


def test_support_is_the_row_or_a_sentence() -> None:
    device = target(rows=(RELU,), without=("Neg",))
    assert device.support(ir.node("Relu", [], name="r")) is RELU
    with pytest.raises(UnsupportedOpError) as caught:
        device.support(ir.node("Neg", [], name="n"))
    first, hint = str(caught.value).splitlines()
    assert first == "node 'n': table-top has no integer kernel for Neg"
    assert hint.startswith("  hint: it has kernels for Abs, Add, ")


def test_an_operator_of_another_domain_has_no_row() -> None:
    node = ir.node("Relu", [], domain="com.example", name="r")
    reason = target().why_float(node)
    assert reason == "table-top has no integer kernel for com.example.Relu"


def test_a_limit_gives_the_reason() -> None:
    row = OpSupport(op_type="Elu", activation=(U8,), limits=(AttributeIs("alpha", 1.0),))
    node = ir.node("Elu", [], {"alpha": 2.0}, name="e")
    with pytest.raises(UnsupportedOpError, match="node 'e': alpha is 2"):
        target(rows=(row,)).support(node)


def test_a_target_lists_an_operator_once() -> None:
    with pytest.raises(ValueError, match="target 'table-top' lists Relu twice"):
        target(rows=(RELU, RELU))
