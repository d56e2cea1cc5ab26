"""FuseGroupNorm: graphs before and after, and onnxruntime's answers before and after."""

from __future__ import annotations

import pytest

from qcompile.passes.fuse_group_norm import FuseGroupNorm
from tests.answers import assert_same_answers, inferred
from tests.graphs import assert_graph

HEAD = "g (float[2,4,3,3] x) => (float[2,4,3,3] y)"
GROUPS = """<int64[3] groups = {2, 2, 18}, int64[4] back = {2, 4, 3, 3},
  float[2] one = {1.0, 1.0}, float[2] zero = {0.0, 0.5}>"""

CHANGES = {
    "two groups": (
        f"""{HEAD} {GROUPS} {{ a = Reshape (x, groups)
          b = InstanceNormalization <epsilon = 0.001> (a, one, zero)
          y = Reshape (b, back) }}""",
        f"""{HEAD} <float[4] gain = {{1.0, 1.0, 1.0, 1.0}},
          float[4] shift = {{0.0, 0.0, 0.5, 0.5}}>
        {{ y = GroupNormalization <epsilon = 0.001, num_groups = 2> (x, gain, shift) }}""",
    ),
}

KEPT = {
    "another shape at the end": """g (float[2,4,3,3] x) => (float[2,4,9] y)
        <int64[3] groups = {2, 2, 18}, int64[3] back = {2, 4, 9},
          float[2] one = {1.0, 1.0}, float[2] zero = {0.0, 0.5}>
        { a = Reshape (x, groups)  b = InstanceNormalization (a, one, zero)
          y = Reshape (b, back) }""",
    "a graph output": f"""g (float[2,4,3,3] x) => (float[2,4,3,3] y, float[2,2,18] b) {GROUPS}
        {{ a = Reshape (x, groups)  b = InstanceNormalization (a, one, zero)
          y = Reshape (b, back) }}""",
    "a gain that is also an input": f"""g (float[2,4,3,3] x, float[2] one) =>
        (float[2,4,3,3] y) {GROUPS}
        {{ a = Reshape (x, groups)  b = InstanceNormalization (a, one, zero)
          y = Reshape (b, back) }}""",
}


@pytest.mark.parametrize(("before", "after"), CHANGES.values(), ids=CHANGES)
def test_fuses(before: str, after: str) -> None:
    result = FuseGroupNorm()(inferred(before))
    assert result.modified
    assert_graph(result.model, after)
    assert not FuseGroupNorm()(result.model).modified


@pytest.mark.parametrize("before", KEPT.values(), ids=KEPT)
def test_keeps(before: str) -> None:
    result = FuseGroupNorm()(inferred(before))
    assert not result.modified
    assert_graph(result.model, before)


@pytest.mark.parametrize("before", [before for before, _ in CHANGES.values()], ids=CHANGES)
def test_same_answers(before: str) -> None:
    """Two means of eighteen terms in another order, a root and a division: under 64."""
    assert_same_answers(inferred(before), FuseGroupNorm(), roundings=64)
