"""Which kernels a network of movers becomes, and what they answer under static scales."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qcompile import oracle
from qcompile.compiler import compile_model
from qcompile.config import CompileConfig
from qcompile.model import CompiledModel
from qcompile.regions import is_move
from qcompile.report import is_float
from qcompile.targets import TARGETS
from qcompile.validation.first_difference import judge
from tests.nets import NETS, movers, net, samples
from tests.targets.test_lowering import HERE, every_value, runnable

TEXTS = {**NETS, **movers.MORE}
STATIC = CompileConfig(recipe="static-int8")
ENDS = {"Quantize", "DenseConv", "DepthwiseConv", "Dequantize"}

KERNELS = {
    "nearest, twice as large": ["Move"],
    "nearest, by half pixels to sizes": ["Gather"],
    "linear, twice as large": ["Resize"],
    "pads of rows": ["Gather"],
    "a row of a tensor": ["Move"],
    "channels by their indices": ["Move", "Gather"],
    "shuffled channels": ["Lookup", "Concat", "Move"],
    "split, halves swapped": ["Move", "Lookup", "Concat"],
    "depth to space and back": ["Move"],
    "channels last": ["Move"],
}
"""Beside the convolutions and borders; these store small answers in their own order."""


def compiled(name: str, target: str) -> CompiledModel:
    model = net(TEXTS[name])
    return compile_model(
        model, runnable(TARGETS[target]), calibration=samples(model, 4), config=STATIC
    )


@pytest.mark.parametrize("name", KERNELS)
def test_kernels(name: str) -> None:
    kernels = [each["kernel"] for each in compiled(name, "x86-vnni").manifest["kernels"]]
    assert [kernel for kernel in kernels if kernel not in ENDS] == KERNELS[name]


@pytest.mark.parametrize("name", movers.MORE)
def test_every_value_is_the_oracles(name: str, tmp_path: Path) -> None:
    """On one target; the kernels have tests of their own on all."""
    model = compiled(name, HERE[0])
    graph = model.integer_graph
    moving = [n for n in graph.graph if is_move(n) or n.op_type in ("QResize", "Resize")]
    assert moving
    assert any(is_float(node) for node in moving) == (name == "cubic")
    runner = every_value(model.target, graph, tmp_path)
    for inputs in samples(net(TEXTS[name]), 2, seed=1):
        values = {**inputs, **runner(inputs)}
        assert [each for each in judge(graph, values) if each["differences"]] == []
        if not any(is_float(node) for node in graph.graph):
            expected, got = oracle.run(graph, inputs), model.run(inputs)
            assert all(np.array_equal(expected[key], got[key]) for key in expected)


def test_an_embedding_that_sums_read_stays_float() -> None:
    """A quantized table would be a loss for nothing: no integer step reads it."""
    model = net("""g (float[2,5] x, float[11,16] table, float[5,16] w1, float[16,10] w2)
        => (float[2,5,10] y)
        { i = Cast <to = 7> (x)  e = Gather(table, i)  s = Add(e, w1)
          n = LayerNormalization(s, ones)  y = MatMul(n, w2) }""")
    data = [{"x": np.abs(each["x"])} for each in samples(model, 4)]
    graph = compile_model(model, "x86-vnni", calibration=data, config=STATIC).integer_graph
    (gather,) = [node for node in graph.graph if node.op_type == "Gather"]
    assert is_float(gather)
