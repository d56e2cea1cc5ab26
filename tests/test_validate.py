"""Validation: exact or not and where, figures against the float model, labels."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from qcompile.cli.run import describe_validation
from qcompile.errors import CompileError
from qcompile.report import json_text
from qcompile.validation.deviation import MOST_DB, NEXT_DB, Deviation
from qcompile.validation.first_difference import compare, float_bound
from qcompile.validation.oracle_check import gives_golden
from tests.compiled import INNER_ISLAND, TAIL_ISLAND, OracleLowering, compiled, float_model
from tests.graphs import graph

Array = npt.NDArray[np.generic]


def samples(count: int, seed: int = 0) -> list[dict[str, Array]]:
    random = np.random.default_rng(seed)
    return [{"x": random.normal(0, 4, (1, 4)).astype(np.float32)} for _ in range(count)]


def off_by_one(array: Array) -> Array:
    changed = array.copy()
    changed[0, 2] += 1
    return changed


def test_bit_exact() -> None:
    report = compiled().validate(samples(5))
    assert report["oracle"] == {"bit_exact": True, "first_difference": None, "samples": 5}
    assert report["golden"]
    assert report["samples"] == 5
    assert report["reference"] is None
    assert [report[key] for key in ("sqnr_db", "cosine", "max_abs_error")] == [None] * 3
    assert "accuracy" not in report


def test_another_shape_is_a_difference() -> None:
    model = compiled(OracleLowering(wrong={"y": lambda array: array[:, :3]}))
    report = model.validate(samples(2))
    difference = report["oracle"]["first_difference"]
    assert difference is not None
    assert difference["node"] == "node_y"
    assert difference["shapes"] == ([1, 4], [1, 3])
    assert not report["golden"]


def test_first_difference_is_named() -> None:
    report = compiled(OracleLowering(wrong={"r": off_by_one})).validate(samples(3))
    difference = report["oracle"]["first_difference"]
    assert not report["oracle"]["bit_exact"]
    assert not report["golden"]
    assert difference is not None
    assert difference == {
        "node": "node_r",
        "op_type": "QLut",
        "index": [0, 2],
        "expected": difference["expected"],
        "got": difference["expected"] + 1,
        "count": 1,
    }


def test_difference_that_every_value_build_lacks_is_still_reported() -> None:
    report = compiled(OracleLowering(shipped_wrong={"r": off_by_one})).validate(samples(1))
    difference = report["oracle"]["first_difference"]
    assert difference is not None
    assert difference["node"] == "node_y"
    assert difference["got"] == difference["expected"] + 0.5


def test_a_difference_beyond_the_oracle_samples_is_not_seen_and_said_so() -> None:
    model = compiled(OracleLowering(wrong={"r": off_by_one}))
    report = model.validate(samples(3), oracle_samples=0)
    assert report["oracle"]["samples"] == 0


def scaled(factor: float) -> Callable[[Array], Array]:
    return lambda array: np.multiply(array, factor, dtype=np.float32)


ISLANDS = {
    "tail, rounding only": (TAIL_ISLAND, {"y": scaled(1 + 2e-7)}, None),
    "tail, wrong": (TAIL_ISLAND, {"y": scaled(1.001)}, "node_y"),
    "tail, wrong before it": (TAIL_ISLAND, {"r": off_by_one}, "node_r"),
    "inner, rounding only": (INNER_ISLAND, {"c": scaled(1 + 2e-7)}, None),
    "inner, wrong": (INNER_ISLAND, {"c": scaled(1.001)}, "node_c"),
    "inner, wrong after it": (INNER_ISLAND, {"p": off_by_one}, "node_p"),
}


@pytest.mark.parametrize(("text", "wrong", "node"), ISLANDS.values(), ids=ISLANDS)
def test_float_islands(
    text: str, wrong: dict[str, Callable[[Array], Array]], node: str | None
) -> None:
    report = compiled(OracleLowering(wrong=wrong), text=text).validate(samples(4))
    difference = report["oracle"]["first_difference"]
    assert (difference and difference["node"]) == node
    assert report["oracle"]["bit_exact"] == (node is None)


def test_bound_of_a_sum_follows_what_is_added_not_what_is_left() -> None:
    model = graph("g (float[2] x) => (float[1] y) { y = ReduceSum(x) }")
    x = np.array([1000.0, -1000.0], np.float32)
    assert float_bound(model.graph[0], [x], np.zeros(1, np.float32)) == pytest.approx(0.02)


@pytest.mark.parametrize("odd", [math.nan, math.inf])
def test_bound_follows_the_numbers_that_are_finite(odd: float) -> None:
    """NaN would forgive nothing, infinity everything."""
    (node,) = graph("g (float[3] x) => (float[3] y) { y = Log(x) }").graph
    expected = np.array([odd, 2, -odd], np.float32)
    bound = float_bound(node, [expected], expected)
    assert bound == float_bound(node, [expected], expected[1:2])
    near = np.array([odd, np.nextafter(np.float32(2), 3), -odd], np.float32)
    assert compare(node, expected, near, bound) is None
    assert compare(node, expected, np.array([odd, 3, -odd], np.float32), bound) is not None


def test_figures_against_the_float_model(tmp_path: Path) -> None:
    path = float_model(tmp_path)
    data = samples(50)
    report = compiled(reference=path).validate(data, reference=path)
    x = np.stack([each["x"] for each in data]).astype(np.float64)
    reference = np.maximum(x, 0)
    output = np.maximum(np.rint(x / 0.5) * 0.5, 0)
    error = reference - output
    expected = 10 * math.log10((reference**2).sum() / (error**2).sum())
    assert report["sqnr_db"] == pytest.approx(expected)
    assert report["max_abs_error"] == pytest.approx(np.abs(error).max())
    assert report["cosine"] == pytest.approx(
        (reference * output).sum() / math.sqrt((reference**2).sum() * (output**2).sum())
    )
    assert report["reference"] == compiled(reference=path).manifest["reference_sha256"]


def test_exact_answers_are_the_cap_and_not_null(tmp_path: Path) -> None:
    path = float_model(tmp_path)
    report = compiled(reference=path).validate(
        [{"x": np.array([[1, 2, 0.5, -1]], np.float32)}], reference=path
    )
    assert report["sqnr_db"] == MOST_DB
    assert report["cosine"] == 1.0
    assert json.loads(json_text(report))["sqnr_db"] == 200.0
    assert "identical" in describe_validation(report)


def test_nan_where_the_float_model_has_numbers_is_the_worst_and_not_null(
    tmp_path: Path,
) -> None:
    path = float_model(tmp_path)
    broken = OracleLowering(wrong={"y": lambda array: np.full_like(array, np.nan)})
    report = compiled(broken, reference=path).validate(samples(2), reference=path)
    figures = json.loads(json_text(report))
    assert figures["sqnr_db"] == -200.0
    assert figures["cosine"] == 0.0
    assert figures["outputs"]["y"]["not_finite"] == 8
    assert "8 values" in describe_validation(report)


DEVIATIONS = {
    "nothing becomes something": ([0.0], [1.0], -MOST_DB, 0.0, 0),
    "nothing stays nothing": ([0.0], [0.0], MOST_DB, 1.0, 0),
    "the other sign": ([1.0], [-1.0], -6.02, -1.0, 0),
    "less noise than the cap": ([1.0], [1.0 + 1e-12], NEXT_DB, 1.0, 0),
    "NaN becomes a number": ([np.nan, 1.0], [1.0, 1.0], -MOST_DB, 0.0, 1),
    "a number becomes infinite": ([1.0, 1.0], [np.inf, 1.0], -MOST_DB, 0.0, 1),
    "infinity turns": ([np.inf, 1.0], [-np.inf, 1.0], -MOST_DB, 0.0, 1),
    "NaN stays NaN": ([np.nan, np.inf, 2.0], [np.nan, np.inf, 2.0], MOST_DB, 1.0, 0),
}


@pytest.mark.parametrize(
    ("reference", "output", "sqnr", "cosine", "not_finite"),
    DEVIATIONS.values(),
    ids=DEVIATIONS,
)
def test_deviation_at_its_edges(
    reference: list[float], output: list[float], sqnr: float, cosine: float, not_finite: int
) -> None:
    deviation = Deviation()
    deviation.add(np.array(reference), np.array(output))
    assert deviation.sqnr_db == pytest.approx(sqnr, abs=0.005)
    assert deviation.cosine == pytest.approx(cosine)
    assert deviation.not_finite == not_finite
    assert math.isfinite(deviation.max_abs_error)


def test_another_reference_is_refused(tmp_path: Path) -> None:
    path = float_model(tmp_path)
    with pytest.raises(CompileError, match=r"not the model that was compiled.*\n  hint: "):
        compiled().validate(samples(1), reference=path)


@pytest.mark.parametrize("batch", [1, 3])
def test_accuracy_with_labels(tmp_path: Path, batch: int) -> None:
    x = np.array([[9, 0, 0, 0], [0, 9, 0, 0], [0, 0, 9, 0], [0.6, 0.7, 0, 0]], np.float32)
    path = float_model(tmp_path, batch)
    # On the grid of 1/2 both numbers of the last sample are 0.5: the tie goes to class 0.
    np.savez(tmp_path / "data.npz", x=x, label=np.array([0, 1, 3, 1]))
    report = compiled(batch=batch, reference=path).validate(
        tmp_path / "data.npz", reference=path, labels="label"
    )
    assert report["samples"] == 4
    accuracy = report["accuracy"]
    assert accuracy["float"] == 0.75
    assert accuracy["compiled"] == 0.5
    assert accuracy["drop"] == 0.25
    assert accuracy["agreement"] == 0.75
    assert accuracy["ci95"] is not None
    assert accuracy["ci95"][0] < 0.25 < accuracy["ci95"][1]


def test_accuracy_without_reference(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=np.eye(4, dtype=np.float32) * 9, label=np.arange(4))
    report = compiled().validate(tmp_path / "data.npz", labels="label")
    assert report["accuracy"]["compiled"] == 1.0
    assert report["accuracy"]["float"] is None


@pytest.mark.parametrize("label", [-1, 4])
def test_label_that_is_no_class_is_refused(tmp_path: Path, label: int) -> None:
    labels = np.array([0, label])
    np.savez(tmp_path / "data.npz", x=np.zeros((2, 4), np.float32), label=labels)
    with pytest.raises(CompileError, match=f"label {label} of sample 1 is none of its 4"):
        compiled().validate(tmp_path / "data.npz", labels="label")


@pytest.mark.parametrize(("step", "golden"), [(1, True), (100, False)])
def test_golden_behind_floats_may_flip_a_step(step: int, golden: bool) -> None:
    """As when compiling: a last float bit decides an integer; more is another answer."""

    def moved(array: Array) -> Array:
        return np.asarray(np.where(array == array.max(), np.subtract(array, step), array))

    fine = INNER_ISLAND.replace("0.5", "0.02")
    model = compiled(OracleLowering(wrong={"p": moved}), text=fine)
    assert gives_golden(model) == golden
