"""Sums and products in a row: chains of any length compile, each node looked at once."""

from __future__ import annotations

import numpy as np

from qcompile import oracle
from qcompile.compiler import compile_model
from tests.graphs import graph
from tests.targets.test_lowering import HERE

LENGTH = 60
"""With two looks at every node before, the last one would take 2**60."""


def test_a_long_chain() -> None:
    inputs = ", ".join(f"float[1,8,3,3] x{i}" for i in range(LENGTH + 1))
    lines = []
    for i in range(LENGTH + 1):
        lines.append(f"q{i} = QuantizeLinear(x{i}, s, z) d{i} = DequantizeLinear(q{i}, s, z)")
    last = "d0"
    for i in range(1, LENGTH + 1):
        operator = "Mul" if i % 7 == 0 else "Add"
        lines.append(
            f"t{i} = {operator}({last}, d{i}) u{i} = QuantizeLinear(t{i}, s, z) "
            f"v{i} = DequantizeLinear(u{i}, s, z)"
        )
        last = f"v{i}"
    lines.append(f"y = Identity({last})")
    text = f"""g ({inputs}) => (float[1,8,3,3] y)
        <float s = {{0.05}}, uint8 z = {{128}}> {{ {" ".join(lines)} }}"""
    compiled = compile_model(graph(text), HERE[0])
    random = np.random.default_rng(0)
    values = {
        f"x{i}": random.normal(0, 1, (1, 8, 3, 3)).astype(np.float32)
        for i in range(LENGTH + 1)
    }
    expected = oracle.run(compiled.integer_graph, values)
    np.testing.assert_array_equal(compiled.run(values)["y"], expected["y"])
