"""Graphs before and after MergeActivations, and the clamps' algebra against NumPy."""

from __future__ import annotations

import numpy as np
import onnx.reference
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcompile.passes.merge_activations import MergeActivations
from tests.graphs import assert_graph, graph

HEAD = "g (float[4] x) => (float[4] y)"
BOUNDS = "float zero = {0.0}, float one = {1.0}, float six = {6.0}"
LARGE = "float large = {3.4028234663852886e38}"

CHANGES = {
    "Relu, Relu": (
        f"{HEAD} {{ a = Relu (x)  b = Relu (a)  y = Neg (b) }}",
        f"{HEAD} {{ a = Relu (x)  y = Neg (a) }}",
    ),
    "Relu, Clip": (
        f"{HEAD} <float low = {{-1.0}}, {BOUNDS}> {{ a = Relu (x)  y = Clip (a, low, six) }}",
        f"{HEAD} <{BOUNDS}> {{ y = Clip (x, zero, six) }}",
    ),
    "Clip, Relu, at a graph output": (
        f"{HEAD} <{BOUNDS}> {{ a = Clip (x, zero, six)  y = Relu (a) }}",
        f"{HEAD} <{BOUNDS}> {{ y = Clip (x, zero, six) }}",
    ),
    "Clip, Clip, Clip": (
        f"""{HEAD} <float low = {{-1.0}}, {BOUNDS}>
        {{ a = Clip (x, low, six)  b = Clip (a, zero)  y = Clip (b, , one) }}""",
        f"{HEAD} <{BOUNDS}> {{ y = Clip (x, zero, one) }}",
    ),
    "bounds that do not meet": (
        f"""{HEAD} <float low = {{-1.0}}, {BOUNDS}>
        {{ a = Clip (x, low, zero)  y = Clip (a, one, six) }}""",
        f"{HEAD} <{BOUNDS}> {{ y = Clip (x, one, one) }}",
    ),
    "Clip that is a Relu": (
        f"{HEAD} <{BOUNDS}> {{ y = Clip (x, zero) }}",
        f"{HEAD} {{ y = Relu (x) }}",
    ),
    "Clip to the largest float": (
        f"{HEAD} <{BOUNDS}, {LARGE}> {{ y = Clip (x, zero, large) }}",
        f"{HEAD} {{ y = Relu (x) }}",
    ),
    "Clip without bounds": (
        f"{HEAD} {{ a = Clip (x)  y = Neg (a) }}",
        f"{HEAD} {{ y = Neg (x) }}",
    ),
    "Max and Min": (
        f"{HEAD} <float[4] m, {BOUNDS}> {{ m = Max (zero, x)  y = Min (m, six) }}",
        f"{HEAD} <{BOUNDS}> {{ y = Clip (x, zero, six) }}",
    ),
    "Max with zero": (
        f"{HEAD} <{BOUNDS}> {{ y = Max (x, zero) }}",
        f"{HEAD} {{ y = Relu (x) }}",
    ),
    "Min of an array of one number": (
        f"{HEAD} <float[1] one = {{1.0}}> {{ y = Min (one, x) }}",
        f"{HEAD} <float one = {{1.0}}> {{ y = Clip (x, , one) }}",
    ),
    "a second user, but the outer cuts nothing": (
        """g (float[4] x) => (float[4] y, float[4] z) <float six = {6.0}, float zero = {0.0}>
        { a = Clip (x, zero, six)  b = Relu (a)  y = Neg (b)  z = Abs (a) }""",
        """g (float[4] x) => (float[4] y, float[4] z) <float six = {6.0}, float zero = {0.0}>
        { a = Clip (x, zero, six)  y = Neg (a)  z = Abs (a) }""",
    ),
    "inside a branch": (
        f"""g (bool c, float[4] x) => (float[4] y) <{BOUNDS}>
        {{ y = If (c) <
            then_branch: graph = t () => (float[4] p)
              {{ a = Relu (x)  p = Clip (a, zero, six) }},
            else_branch: graph = e () => (float[4] q) {{ q = Relu (x) }}> }}""",
        f"""g (bool c, float[4] x) => (float[4] y) <{BOUNDS}>
        {{ y = If (c) <
            then_branch: graph = t () => (float[4] p) <float k = {{0.0}}, float l = {{6.0}}>
              {{ p = Clip (x, k, l) }},
            else_branch: graph = e () => (float[4] q) {{ q = Relu (x) }}> }}""",
    ),
}

KEPT = {
    "one Relu": f"{HEAD} {{ y = Relu (x) }}",
    "one Clip": f"{HEAD} <{BOUNDS}> {{ y = Clip (x, one, six) }}",
    "a second user": """g (float[4] x) => (float[4] y, float[4] z) <float six = {6.0}>
        { a = Relu (x)  y = Clip (a, , six)  z = Neg (a) }""",
    "the inner one is a graph output": """g (float[4] x) => (float[4] y, float[4] a)
        <float six = {6.0}> { a = Relu (x)  y = Clip (a, , six) }""",
    "the inner one stands outside the branch": f"""g (bool c, float[4] x) => (float[4] y)
        <{BOUNDS}>
        {{ a = Relu (x)
          y = If (c) <
            then_branch: graph = t () => (float[4] p) {{ p = Clip (a, one, six) }},
            else_branch: graph = e () => (float[4] q) {{ q = Neg (x) }}> }}""",
    "a bound is also an input": """g (float[4] x, float six) => (float[4] y)
        <float six = {6.0}> { a = Relu (x)  y = Clip (a, , six) }""",
    "bounds that cross": f"{HEAD} <{BOUNDS}> {{ a = Relu (x)  y = Clip (a, six, one) }}",
    "Max of two activations": "g (float[4] x, float[4] z) => (float[4] y) { y = Max (x, z) }",
    "Max of three": f"{HEAD} <{BOUNDS}> {{ y = Max (x, zero, one) }}",
    "Max that broadcasts": """g (float[4] x) => (float[1,4] y) <float[1,1] one = {1.0}>
        { y = Max (x, one) }""",
    "Max with an array": f"{HEAD} <float[4] v = {{0.0, 1.0, 2.0, 3.0}}> {{ y = Max (x, v) }}",
    "integers": "g (int32[4] x) => (int32[4] y) <int32 one = {1}> { y = Max (x, one) }",
}


@pytest.mark.parametrize(("before", "after"), CHANGES.values(), ids=CHANGES)
def test_merges(before: str, after: str) -> None:
    result = MergeActivations()(graph(before))
    assert result.modified
    assert_graph(result.model, after)
    assert not MergeActivations()(result.model).modified


@pytest.mark.parametrize("before", KEPT.values(), ids=KEPT)
def test_keeps(before: str) -> None:
    result = MergeActivations()(graph(before))
    assert not result.modified
    assert_graph(result.model, before)


BOUND = st.sampled_from([-7.5, -1.0, 0.0, 0.25, 3.0, 6.0])


@st.composite
def steps(draw: st.DrawFn) -> str:
    """Return `OP (%s, bounds)` with the constants that the graph below declares."""
    op_type = draw(st.sampled_from(["Relu", "Clip", "Min", "Max"]))
    if op_type == "Relu":
        return "Relu (%s)"
    low, high = (f"c{draw(st.integers(0, 5))}" for _ in range(2))
    if op_type == "Clip":
        return draw(
            st.sampled_from([f"Clip (%s, {low}, {high})", f"Clip (%s, {low})", "Clip (%s)"])
        )
    return f"{op_type} (%s, {low})"


@settings(max_examples=100, deadline=None)
@given(st.lists(steps(), min_size=1, max_size=5))
def test_chains_keep_their_values(chain: list[str]) -> None:
    """Selections only: the values must be the same to the bit."""
    constants = ", ".join(
        f"float c{index} = {{{bound}}}"
        for index, bound in enumerate([-7.5, -1.0, 0.0, 0.25, 3.0, 6.0])
    )
    names = [f"v{index}" for index in range(len(chain))]
    declared = ", ".join(f"float[64] {name}" for name in names)
    body = "  ".join(
        f"{name} = {step % before}"
        for name, step, before in zip(names, chain, ["x", *names], strict=False)
    )
    model = graph(
        f"g (float[64] x) => (float[64] y) <{declared}, {constants}> {{ {body}  "
        f"y = Identity ({names[-1]}) }}"
    )
    x = np.linspace(-9, 9, 64, dtype=np.float32)
    (expected,) = onnx.reference.ReferenceEvaluator(ir.to_proto(model)).run(None, {"x": x})
    merged = MergeActivations()(model).model
    (got,) = onnx.reference.ReferenceEvaluator(ir.to_proto(merged)).run(None, {"x": x})
    np.testing.assert_array_equal(got, expected)
