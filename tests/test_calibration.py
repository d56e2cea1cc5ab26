"""Calibration: what a pass over the data observes, and how it fails."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnx_ir.passes.common as common
import pytest

from qcompile.calibration.calibrate import calibrate
from qcompile.data.dataset import Dataset, input_specs, load_data
from qcompile.errors import CompileError
from qcompile.passes.insert_observers import InsertObservers
from qcompile.target import Arrays
from tests.graphs import graph

CHAIN = """g (float[B, 3] x) => (float[B, 3] y)
    <float[3] w = {0.5, -2, 4}> { a = Mul(x, w)  b = Relu(a)  y = Sqrt(b) }"""


def observed(text: str = CHAIN, *, batch: int = 1) -> ir.Model:
    model = graph(text.replace("B,", f"{batch},"))
    return InsertObservers()(common.ShapeInferencePass()(model).model).model


def data(model: ir.Model, samples: list[list[float]]) -> Dataset:
    return load_data(
        [{"x": np.array(sample, np.float32)} for sample in samples], input_specs(model)
    )


SAMPLES = [[1.0, 2.0, 3.0], [4.0, -5.0, 6.0], [0.0, 0.5, 0.0]]


def test_observes_every_value_and_the_input() -> None:
    model = observed()
    observations = calibrate(model, data(model, SAMPLES), ["x", "a", "b", "y"])
    x = np.array(SAMPLES, np.float32)
    a = x * np.array([0.5, -2, 4], np.float32)
    expected = {"x": x, "a": a, "b": np.maximum(a, 0), "y": np.sqrt(np.maximum(a, 0))}
    assert list(observations) == list(expected)
    for name, observation in observations.items():
        assert observation.count == 9
        assert observation.minimum == expected[name].min()
        assert observation.maximum == expected[name].max()


def test_only_the_named_values() -> None:
    model = observed()
    assert list(calibrate(model, data(model, SAMPLES), ["b"])) == ["b"]
    assert calibrate(model, data(model, SAMPLES), ["x"])["x"].maximum == 6


def test_a_generator_is_enough() -> None:
    model = observed()

    def samples() -> Iterator[Arrays]:
        for sample in SAMPLES:
            yield {"x": np.array([sample], np.float32)}

    once = calibrate(model, load_data(samples(), input_specs(model)), ["a"])
    again = calibrate(model, data(model, SAMPLES), ["a"])
    np.testing.assert_array_equal(once["a"].histogram.counts, again["a"].histogram.counts)


def test_batches_count_each_sample_once() -> None:
    single, double = observed(), observed(batch=2)
    one = calibrate(single, data(single, SAMPLES), ["a", "y"])
    two = calibrate(double, data(double, SAMPLES), ["a", "y"])
    for name in one:
        np.testing.assert_array_equal(one[name].histogram.counts, two[name].histogram.counts)


def test_memory_is_that_of_one_histogram_a_value() -> None:
    model = observed()
    sizes = []
    for repeat in (1, 50):
        result = calibrate(model, data(model, SAMPLES * repeat), ["a", "b"])
        sizes.append(sum(each.histogram.counts.nbytes for each in result.values()))
        assert result["a"].count == 9 * repeat
    assert sizes == [2 * 8 * 65536] * 2


def test_samples_are_taken_one_at_a_time() -> None:
    model = observed()
    alive: list[int] = []

    class Watched(dict[str, npt.NDArray[np.float32]]):
        def __init__(self) -> None:
            super().__init__(x=np.ones((1, 3), np.float32))
            alive.append(1)
            assert len(alive) <= 2  # the one at work and the one that is being made

        def __del__(self) -> None:
            alive.pop()

    samples = load_data((Watched() for _ in range(20)), input_specs(model))
    assert calibrate(model, samples, ["a"])["a"].count == 60


def test_progress_is_silent_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    model = observed()
    calibrate(model, data(model, SAMPLES), ["a"], progress=True)
    assert capsys.readouterr() == ("", "")


def test_names_the_value_that_overflows() -> None:
    model = observed(
        """g (float[B, 3] x) => (float[B, 3] y)
        <float[3] w = {1, 1, 1}> { a = Sub(x, w)  y = Log(a) }"""
    )
    ir.passes.common.NameFixPass()(model)
    with pytest.raises(CompileError) as error:
        calibrate(model, data(model, [[2, 3, 4], [1, 2, 0]]), ["a", "y"])
    lines = str(error.value).splitlines()
    assert lines[0].startswith("value 'y' of Log ")
    assert "2 of 3 values are NaN or infinite, in sample 1 of the calibration" in lines[0]
    assert lines[1].startswith("  hint: ")


def test_no_samples() -> None:
    model = observed()
    with pytest.raises(CompileError, match="data: holds no samples"):
        calibrate(model, load_data(iter([]), input_specs(model)), ["a"])


def test_an_operator_that_onnxruntime_lacks() -> None:
    model = observed()
    model.graph.node(0).domain = "elsewhere"
    model.opset_imports["elsewhere"] = 1
    with pytest.raises(CompileError, match="calibration: onnxruntime cannot run it"):
        calibrate(model, data(model, SAMPLES), ["a"])


def test_a_value_that_is_not_observed() -> None:
    model = observed()
    with pytest.raises(ValueError, match="not observed: 'nowhere'"):
        calibrate(model, data(model, SAMPLES), ["nowhere"])
