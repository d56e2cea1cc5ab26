"""A compiled model in Python: run, load with a target of one's own, report."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qcompile
from qcompile.cli.tables import bytes_text, count_text, percent, table
from qcompile.errors import CompileError
from tests.compiled import TAIL_ISLAND, compiled, fake_target

X = np.array([[1.2, -1, 2, 0.5]], np.float32)


def test_save_load_run_with_a_target_of_ones_own(tmp_path: Path) -> None:
    model = compiled()
    model.save(tmp_path / "model.qcm")
    loaded = qcompile.load(tmp_path / "model.qcm", target=fake_target())
    np.testing.assert_array_equal(loaded.run({"x": X})["y"], [[1, 0, 2, 0.5]])
    assert {**loaded.report, "seconds": {}} == {**model.report, "seconds": {}}
    assert loaded.report["seconds"] == {}


def test_load_for_another_target_is_refused(tmp_path: Path) -> None:
    compiled().save(tmp_path / "model.qcm")
    other = dataclasses.replace(fake_target(), name="other")
    with pytest.raises(CompileError, match=r"compiled for fake, not for other\n  hint: "):
        qcompile.load(tmp_path / "model.qcm", target=other)


def test_unknown_target_of_an_artifact_is_refused(tmp_path: Path) -> None:
    compiled().save(tmp_path / "model.qcm")
    with pytest.raises(CompileError, match=r"unknown target 'fake'"):
        qcompile.load(tmp_path / "model.qcm")


BAD = {
    "missing": ({}, "no array for input 'x'\n  hint: given: nothing"),
    "unknown": ({"x": X, "z": X}, "has no input 'z'"),
    "list": ({"x": X.tolist()}, "got list, it takes a NumPy array"),
    "dtype": ({"x": X.astype(np.float16)}, "got float16, it takes float32"),
    "rank": ({"x": X[0]}, r"got shape \(4,\), it takes \(1, 4\)"),
    "infinite": ({"x": np.array([[1, 1, 1, np.inf]], np.float32)}, r"inf at \(0, 3\)"),
}


@pytest.mark.parametrize(("inputs", "problem"), BAD.values(), ids=BAD)
def test_run_checks_its_inputs(inputs: dict[str, Any], problem: str) -> None:
    with pytest.raises(CompileError, match=problem):
        compiled().run(inputs)


def test_report_counts_borders_as_nothing() -> None:
    report = compiled(text=TAIL_ISLAND).report
    assert report["ops"] == {"total": 2, "integer": 1, "float": 1}
    assert report["macs"] == {"total": 0, "integer": 0}
    assert [island["nodes"] for island in report["float_islands"]] == [["node_y"]]
    assert report["seconds"] == {"build": 0.25}


def test_text_for_people() -> None:
    assert table([("a", "1"), ("long", "22")], right=(1,)) == "a      1\nlong  22"
    assert [bytes_text(size) for size in (0, 999_949, 1_234_567)] == [
        "0.0 kB",
        "999.9 kB",
        "1.23 MB",
    ]
    assert [count_text(number) for number in (7, 1_500, 2_000_000, 3_100_000_000)] == [
        "7",
        "1.5 k",
        "2.0 M",
        "3.1 G",
    ]
    assert [percent(share) for share in (1.0, 0.99999, 0.5)] == [
        "100.00 %",
        "< 100 %",
        "50.00 %",
    ]
