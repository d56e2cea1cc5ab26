"""SmoothActivations: graphs before and after, onnxruntime's answers, and fewer lost levels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
import onnx.shape_inference
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcompile.passes.smooth_activations import (
    SmoothActivations,
    smoothed_values,
    smoothing_factors,
)
from tests.answers import assert_same_answers
from tests.graphs import assert_graph, graph

NORM = "float[2] g = {1.0, 2.0}, float[2] b = {0.5, -4.0}"
WEIGHT = "float[2,2] w = {1.0, -0.5, 0.25, 1.0}"
MAXIMA = {"n": np.array([1.0, 16.0])}
"""With weights whose rows reach 1, alpha 0.5 divides the second channel by 4."""

DIVIDED = "float[2] g = {1.0, 0.5}, float[2] b = {0.5, -1.0}"
MULTIPLIED = "float[2,2] w = {1.0, -0.5, 1.0, 4.0}"
FACTORS = "float[2] f = {1.0, 0.25}"

CHANGES = {
    "a normalization": (
        f"""g (float[3,2] x) => (float[3,2] y) <{NORM}, {WEIGHT}>
        {{ n = LayerNormalization (x, g, b)  y = MatMul (n, w) }}""",
        f"""g (float[3,2] x) => (float[3,2] y) <{DIVIDED}, {MULTIPLIED}>
        {{ n = LayerNormalization (x, g, b)  y = MatMul (n, w) }}""",
    ),
    "two readers": (
        f"""g (float[3,2] x) => (float[3,2] y, float[3,1] z) <{NORM}, {WEIGHT},
          float[1,2] v = {{0.5, 0.5}}>
        {{ n = LayerNormalization (x, g, b)  y = MatMul (n, w)
          z = Gemm <transB = 1> (n, v) }}""",
        f"""g (float[3,2] x) => (float[3,2] y, float[3,1] z) <{DIVIDED}, {MULTIPLIED},
          float[1,2] v = {{0.5, 2.0}}>
        {{ n = LayerNormalization (x, g, b)  y = MatMul (n, w)
          z = Gemm <transB = 1> (n, v) }}""",
    ),
    "a residual reads it too": (
        f"""g (float[3,2] x) => (float[3,2] z) <{NORM}, {WEIGHT}>
        {{ n = LayerNormalization (x, g, b)  y = MatMul (n, w)  z = Add (y, n) }}""",
        f"""g (float[3,2] x) => (float[3,2] z) <{NORM}, {FACTORS}, {MULTIPLIED}>
        {{ n = LayerNormalization (x, g, b)  s = Mul (n, f)  y = MatMul (s, w)
          z = Add (y, n) }}""",
    ),
    "a product and a sum": (
        f"""g (float[3,2] x) => (float[3,2] y) <{NORM}, {WEIGHT}>
        {{ m = Mul (x, g)  n = Add (m, b)  y = MatMul (n, w) }}""",
        f"""g (float[3,2] x) => (float[3,2] y) <{DIVIDED}, {MULTIPLIED}>
        {{ m = Mul (x, g)  n = Add (m, b)  y = MatMul (n, w) }}""",
    ),
    "linear layers with a Relu": (
        f"""g (float[3,2] x) => (float[3,2] y) <{NORM}, {WEIGHT}, float[2,2] v =
          {{1.0, 2.0, 3.0, 4.0}}>
        {{ m = Gemm (x, v, b)  n = Relu (m)  y = MatMul (n, w) }}""",
        f"""g (float[3,2] x) => (float[3,2] y) <{DIVIDED}, {MULTIPLIED}, float[2,2] v =
          {{1.0, 0.5, 3.0, 1.0}}>
        {{ m = Gemm (x, v, b)  n = Relu (m)  y = MatMul (n, w) }}""",
    ),
}

KEPT = {
    "a graph output": f"""g (float[3,2] x) => (float[3,2] y, float[3,2] n) <{NORM}, {WEIGHT}>
        {{ n = LayerNormalization (x, g, b)  y = MatMul (n, w) }}""",
    "a computed weight": f"""g (float[3,2] x, float[2,2] w) => (float[3,2] y) <{NORM}>
        {{ n = LayerNormalization (x, g, b)  y = MatMul (n, w) }}""",
    "a weight that is also an input": f"""g (float[3,2] x, float[2,2] w) => (float[3,2] y)
        <{NORM}, {WEIGHT}> {{ n = LayerNormalization (x, g, b)  y = MatMul (n, w) }}""",
    "a computed scale": f"""g (float[3,2] x, float[2] g) => (float[3,2] y) <{WEIGHT}>
        {{ n = LayerNormalization (x, g)  y = MatMul (n, w) }}""",
    "a normalization over two axes": f"""g (float[3,2] x) => (float[3,2] y) <{WEIGHT},
        float[3,2] g = {{1.0, 1.0, 1.0, 1.0, 1.0, 1.0}}>
        {{ n = LayerNormalization <axis = 0> (x, g)  y = MatMul (n, w) }}""",
    "transA": f"""g (float[2,2] x) => (float[2,2] y) <{NORM}, {WEIGHT}>
        {{ n = LayerNormalization (x, g, b)  y = Gemm <transA = 1> (n, w) }}""",
    "a function between": f"""g (float[3,2] x) => (float[3,2] y) <{NORM}, {WEIGHT}>
        {{ m = LayerNormalization (x, g, b)  n = Gelu (m)  y = MatMul (n, w) }}""",
    "a sum that is read twice": f"""g (float[3,2] x) => (float[3,2] z) <{NORM}, {WEIGHT}>
        {{ m = Mul (x, g)  n = Add (m, b)  y = MatMul (n, w)  z = Add (y, n) }}""",
}


def smooth() -> SmoothActivations:
    return SmoothActivations(MAXIMA, alpha=0.5)


@pytest.mark.parametrize(("before", "after"), CHANGES.values(), ids=CHANGES)
def test_changes(before: str, after: str) -> None:
    model = typed(before)
    assert smoothed_values(model.graph) == ["n"]
    result = smooth()(model)
    assert result.modified
    assert_graph(result.model, after)
    assert not smooth()(result.model).modified


@pytest.mark.parametrize("before", KEPT.values(), ids=KEPT)
def test_keeps(before: str) -> None:
    result = smooth()(typed(before))
    assert not result.modified
    assert_graph(result.model, before)


def test_keeps_what_was_not_observed() -> None:
    before, _ = CHANGES["a normalization"]
    assert not SmoothActivations({})(typed(before)).modified


@pytest.mark.parametrize("before", [before for before, _ in CHANGES.values()], ids=CHANGES)
@settings(max_examples=12, deadline=None)
@given(alpha=st.sampled_from([0.0, 0.3, 0.5, 1.0]), seed=st.integers(0, 99))
def test_the_function_stays(before: str, alpha: float, seed: int) -> None:
    maxima = {"n": np.random.default_rng(seed).uniform(0, 30, 2)}

    def change(model: ir.Model) -> None:
        SmoothActivations(maxima, alpha)(model)

    # Of each of 8 products gamma/s, beta/s, W s and the result are rounded anew; terms reach
    # 10 times the magnitude of the answers where they cancel.
    assert_same_answers(typed(before), change, roundings=8 * 4 * 10, seed=seed)


def test_factors() -> None:
    activations = np.array([4.0, 0.0, 1.0, 1e30])
    rows = np.array([1.0, 1.0, 0.0, 1e-30])
    np.testing.assert_array_equal(
        smoothing_factors(activations, rows, 0.5), [2.0, 1.0, 1.0, 2.0**16]
    )


def test_levels_are_won_back() -> None:
    """One channel 100 times the others: their error falls by the root of that, 20 dB."""
    noise = np.random.default_rng(0)
    x = noise.uniform(-1, 1, (64, 32))
    x[:, 5] *= 100
    weights = noise.uniform(-1, 1, (32, 32))
    factors = smoothing_factors(np.abs(x).max(axis=0), np.abs(weights).max(axis=1), 0.5)

    def error(of: npt.NDArray[np.float64]) -> float:
        step = np.abs(of).max() / 127
        small = of[:, :5]
        lost = small - np.rint(small / step) * step
        return float(np.abs(lost).max() / np.abs(small).max())

    assert error(x / factors) < error(x) / 5


def typed(text: str) -> ir.Model:
    """Return a graph whose values have shapes, as the importer gives them."""
    model = onnx.shape_inference.infer_shapes(ir.to_proto(graph(text)), strict_mode=True)
    return ir.from_proto(model)
