"""QResize: the oracle against Python's integers, the folding against onnxruntime."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import onnx_ir as ir
from hypothesis import given, settings
from hypothesis import strategies as st

from qcompile.graphs.resize_map import TRANSFORMATIONS
from qcompile.oracle import run_node
from tests import scalars
from tests.nodes import activation_types, draw_integers, draw_last_step, qnode, seeds
from tests.qdq_models import Builder, integer_graph, op_types, run_integers, run_reference

MODES = st.sampled_from([mode for mode in TRANSFORMATIONS if not mode.startswith("tf_crop")])


@given(seed=seeds, dtype=activation_types, rank=st.integers(2, 5))
@settings(max_examples=60)
def test_oracle(seed: int, dtype: ir.DataType, rank: int) -> None:
    rng = np.random.default_rng(seed)
    *before, height, width, lines, columns = (int(n) for n in rng.integers(1, 4, rank + 2))
    x = draw_integers(rng, (*before, height, width), dtype)
    first = [rng.integers(0, 2049, count) for count in (lines, columns)]
    weights = [np.stack([2048 - each, each], 1).astype(np.int32) for each in first]
    indices = [
        rng.integers(0, size, (count, 2)).astype(np.int32)
        for size, count in ((height, lines), (width, columns))
    ]
    factor = np.asarray(rng.uniform(0.3, 2) * 2.0**-22, np.float32)
    zero = int(rng.integers(-20, 20))
    node = qnode("QResize", 6, x_zero_point=zero, **draw_last_step(rng))
    inputs = [x, indices[0], weights[0], indices[1], weights[1], factor]
    (actual,) = run_node(node, inputs)
    expected = np.zeros((*before, lines, columns), actual.dtype)
    for *at, h, w in np.ndindex(expected.shape):
        acc = 0
        for i in range(2):
            for j in range(2):
                number = int(x[(*at, int(indices[0][h, i]), int(indices[1][w, j]))]) - zero
                acc += int(weights[0][h, i]) * int(weights[1][w, j]) * number
        t = scalars.product(scalars.to_float32(Fraction(acc)), float(factor))
        expected[(*at, h, w)] = scalars.last_step(node, t)
    assert actual.dtype == scalars.output_type(node)
    np.testing.assert_array_equal(actual, expected)


@given(seed=seeds, mode=MODES, rank=st.integers(3, 5), by_scales=st.booleans())
@settings(max_examples=40, deadline=None)
def test_folding(seed: int, mode: str, rank: int, by_scales: bool) -> None:
    """Half a step for the last rounding, and an eighth of x's for the weights at most."""
    rng = np.random.default_rng(seed)
    shape = tuple(
        int(size) for size in (*rng.integers(1, 3, rank - 2), *rng.integers(2, 8, 2))
    )
    x_scale, y_scale = 1 / 64, float(rng.choice([1 / 64, 1 / 50]))
    builder = Builder(shape)
    x = builder.qdq("x", x_scale, 100)
    if by_scales:
        told = ["", builder.constant("told", rng.uniform(0.5, 3, 2).astype(np.float32))]
    else:
        told = ["", "", builder.constant("told", rng.integers(1, 20, 2))]
    moved = builder.node(
        "Resize",
        [x, *told],
        mode="linear",
        axes=[rank - 2, rank - 1],
        coordinate_transformation_mode=mode,
    )
    proto = builder.model(builder.qdq(moved, y_scale, 120), moved)
    folded = integer_graph(ir.from_proto(builder.model(builder.qdq(moved, y_scale, 120))))
    assert op_types(folded) == ["QuantizeLinear", "QResize", "DequantizeLinear"]
    data = {"x": rng.uniform(-1.5, 2.4, shape).astype(np.float32)}
    actual, real = run_integers(folded, data)[0], run_reference(proto, data)[1]
    inside = np.clip(real, -120 * y_scale, 135 * y_scale)
    worst = y_scale / 2 + 255 * x_scale * 2.0**-11
    assert actual.shape == real.shape
    # float32 rounds the real answer and the positions, by some 2**-20 of a pixel
    assert np.abs(actual - inside).max() <= worst + 1e-4
