"""Float nodes with kernels of ours: which they are, and what joins them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qcompile.compiler import compile_model
from qcompile.config import CompileConfig
from qcompile.targets.rules.floats import runs
from tests.graphs import graph
from tests.nets import NETS, floats, net, samples
from tests.targets.test_lowering import HERE, every_value

STATIC = CompileConfig(recipe="static-int8")

RUN = {
    "rows": "g (float[2,3] x, float[3] s) => (float[2,3] y) { y = LayerNormalization(x, s) }",
    "rows of two axes": """g (float[2,3,4] x, float[3,4] s) => (float[2,3,4] y)
        { y = LayerNormalization <axis = 1> (x, s) }""",
    "shares": "g (float[2,3] x) => (float[2,3] y) { y = Softmax(x) }",
    "a mean": """g (float[2,3] x) => (float[2] y) <int64[1] a = {1}>
        { y = ReduceMean <keepdims = 0> (x, a) }""",
    "an embedding": "g (float[9,3] x, int64[2] i) => (float[2,3] y) { y = Gather(x, i) }",
    "a cast of a mask": "g (bool[3] x) => (float[3] y) { y = Cast <to = 1> (x) }",
    "a sum of a row": "g (float[2,3] x, float[3] s) => (float[2,3] y) { y = Add(x, s) }",
}
LEFT = {
    "a scale of one number": """g (float[2,3] x, float[1] s) => (float[2,3] y)
        { y = LayerNormalization(x, s) }""",
    "the mean beside it": """g (float[2,3] x, float[3] s) => (float[2,3] y, float[2,1] m)
        { y, m = LayerNormalization(x, s) }""",
    "shares of another axis": """g (float[2,3] x) => (float[2,3] y)
        { y = Softmax <axis = 0> (x) }""",
    "a mean of another axis": """g (float[2,3] x) => (float[3] y) <int64[1] a = {0}>
        { y = ReduceMean <keepdims = 0> (x, a) }""",
    "a mean of axes that are computed": """g (float[2,3] x, int64[1] a) => (float[2,1] y)
        { y = ReduceMean(x, a) }""",
    "doubles": "g (double[3] x, double[3] s) => (double[3] y) { y = Add(x, s) }",
    "integers": "g (int64[3] x, int64[3] s) => (int64[3] y) { y = Add(x, s) }",
    "a cast of doubles": "g (double[3] x) => (float[3] y) { y = Cast <to = 1> (x) }",
    "what we have no kernel for": "g (float[3] x) => (float[3] y) { y = Sin(x) }",
}


@pytest.mark.parametrize("text", RUN.values(), ids=RUN)
def test_runs(text: str) -> None:
    assert runs(graph(text).graph[0])


@pytest.mark.parametrize("text", LEFT.values(), ids=LEFT)
def test_left_to_islands(text: str) -> None:
    assert not runs(graph(text).graph[0])


def test_what_stands_around_rows_joins_their_kernel() -> None:
    model = net(NETS["a transformer layer with a mask"])
    compiled = compile_model(model, "x86-vnni", calibration=samples(model, 4), config=STATIC)
    kernels = [each["kernel"] for each in compiled.manifest["kernels"]]
    assert kernels.count("LayerNorm") == 3
    assert kernels.count("FloatSoftmax") == 1
    assert not {"Float", "Quantize", "FloatPair"} & set(kernels)


@pytest.mark.parametrize("name", floats.NETS)
def test_joined_kernels_give_the_same_bits(name: str, tmp_path: Path) -> None:
    """With every value given out nothing can be joined."""
    model = net(NETS[name])
    compiled = compile_model(model, HERE[0], calibration=samples(model, 4), config=STATIC)
    alone = every_value(compiled.target, compiled.integer_graph, tmp_path)
    for inputs in samples(model, 3, seed=2):
        apart = alone(inputs)
        for key, array in compiled.run(inputs).items():
            np.testing.assert_array_equal(array, apart[key])
