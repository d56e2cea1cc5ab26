"""The samples run as they stand, and show what they say."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import onnx
import pytest

from tests.graphs import assert_graph, graph

SAMPLES = Path(__file__).resolve().parents[1] / "samples"
FOLDED = """g (float[1, 1, 4, 4] x) => (float[1, 1, 4, 4] y)
< float[1, 1, 1, 1] w = {1.5}, float[1] b = {0.25} > { y = Conv (x, w, b) }"""


def run(name: str, run_name: str = "__main__") -> dict[str, Any]:
    return runpy.run_path(str(SAMPLES / name / f"{name}.py"), run_name=run_name)


def test_custom_pass(capsys: pytest.CaptureFixture[str]) -> None:
    run("custom_pass")
    assert [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()[:4]] == [
        ["imported", "Conv -> Mul -> Relu -> Clip"],
        ["FoldBatchNorm", "no change"],
        ["FoldFactor", "Conv -> Relu -> Clip"],
        ["MergeActivations", "Conv -> Clip"],
    ]


def test_custom_pass_folds_the_numbers() -> None:
    fold_factor = run("custom_pass", "sample")["FoldFactor"]()
    result = fold_factor(
        graph("""g (float[1, 1, 4, 4] x) => (float[1, 1, 4, 4] y)
        < float[1, 1, 1, 1] w = {3.0}, float[1] b = {0.5}, float c = {0.5} >
        { s = Conv (x, w, b)  y = Mul (s, c) }""")
    )
    assert result.modified
    assert_graph(result.model, FOLDED)
    assert not fold_factor(result.model).modified


def test_passes_library(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run("passes_library", "sample")["main"](tmp_path / "out.onnx")
    assert [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()] == [
        "fold_batch_norm 12 -> 11 nodes",
        "fuse_gelu 11 -> 7 nodes",
        "merge_transposes 7 -> 5 nodes",
        "onnxruntime: the same answers",
        "Transpose -> Conv -> Gelu -> Conv -> Transpose",
        "written: out.onnx",
    ]
    onnx.checker.check_model(tmp_path / "out.onnx", full_check=True)


def test_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    run("recipes")
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert [(row[0], row[1]) for row in rows] == [
        ("static-int8", "static-int8"),
        ("dynamic-int8", "dynamic-int8"),
        ("auto", "static-int8"),
    ]
    assert rows[2][2] == "smooth=0.5"
    static, dynamic, auto = (float(row[-3]) for row in rows)
    assert static < dynamic < auto - 10


def test_custom_target(capsys: pytest.CaptureFixture[str]) -> None:
    run("custom_target")
    said = capsys.readouterr().out
    assert "it reads 3 channels" in said
    assert "precise-server has no integer kernel for Sigmoid" in said
    assert "precise-server has no integer kernel for Softmax" in said
    assert said.endswith("loaded: same answers\noracle: bit-exact\n")
