"""channel_maxima: against NumPy, over batches and filled-up runs."""

from __future__ import annotations

import numpy as np
import pytest

from qcompile.calibration.channel_maxima import channel_maxima
from qcompile.data.dataset import input_specs, load_data
from qcompile.errors import CompileError
from qcompile.passes.insert_observers import InsertObservers
from tests.graphs import graph

TEXT = """g (float[2,3] x) => (float[2,3] y) <float[3] w = {1.0, -2.0, 0.0}>
    { m = Mul (x, w)  y = Relu (m) }"""


def test_as_numpy() -> None:
    model = graph(TEXT)
    samples = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    data = load_data([{"x": row} for row in samples], input_specs(model))
    observed = InsertObservers(frozenset({"m"}))(model).model
    maxima = channel_maxima(observed, data, ["x", "m"])
    np.testing.assert_array_equal(maxima["x"], np.abs(samples).max(axis=0))
    np.testing.assert_array_equal(
        maxima["m"], np.abs(samples * np.array([1, -2, 0], np.float32)).max(axis=0)
    )


def test_what_is_not_finite() -> None:
    model = graph(TEXT.replace("-2.0", "3e38"))
    data = load_data([{"x": np.full(3, 2, np.float32)}], input_specs(model))
    observed = InsertObservers(frozenset({"m"}))(model).model
    with pytest.raises(CompileError, match="NaN or infinity") as caught:
        channel_maxima(observed, data, ["m"])
    assert caught.value.where == "value 'm'"
