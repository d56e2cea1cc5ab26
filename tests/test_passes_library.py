"""The passes as a library: found by name, documented, and their examples true."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import onnx
import onnx_ir as ir
import pytest
from onnx_ir.passes.common import RemoveUnusedNodesPass

from qcompile import passes
from qcompile.cli.command import main
from qcompile.errors import CompileError
from qcompile.pass_docs import needs, pass_docs
from qcompile.targets import find_target
from tests.graphs import assert_graph, graph

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "samples" / "fashion_mnist" / "model.onnx"
MORE_THAN_A_TARGET = {
    name for name in passes.names() if set(needs(passes.find(name))) - {"target"}
}
FROM_METADATA = {"insert_qdq"}
"""Passes whose work a caller writes on the values: a text cannot hold it."""

WITH_EXAMPLE = sorted(set(passes.names()) - MORE_THAN_A_TARGET - FROM_METADATA)


@pytest.mark.parametrize("name", passes.names())
def test_every_pass_says_what_it_does(name: str) -> None:
    docs = pass_docs(passes.find(name))
    assert docs.summary.endswith(".")
    assert docs.text
    assert bool(docs.before) == bool(docs.after) == (name in WITH_EXAMPLE)


@pytest.mark.parametrize("name", WITH_EXAMPLE)
def test_examples_are_true(name: str) -> None:
    found = passes.find(name)
    docs = pass_docs(found)
    step = found(**({"target": find_target("x86-vnni")} if docs.needs else {}))
    proto = onnx.shape_inference.infer_shapes(ir.to_proto(graph(docs.before)))
    result = step(ir.from_proto(proto))
    assert result.modified
    RemoveUnusedNodesPass()(result.model)
    assert_graph(result.model, docs.after)
    assert not step(result.model).modified


@pytest.mark.parametrize("name", ["fold_batch_norm", "fold-batch-norm", "FoldBatchNorm"])
def test_a_pass_has_three_names(name: str) -> None:
    assert passes.find(name).__name__ == "FoldBatchNorm"


def test_an_unknown_pass() -> None:
    with pytest.raises(CompileError, match="did you mean 'fold_pad'"):
        passes.find("fold_pat")


def test_run_writes_what_the_passes_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "folded.onnx"
    wanted = ["--pass", "fold_batch_norm", "--pass", "fold_pad"]
    assert main(["passes", "run", str(MODEL), *wanted, "-o", str(out)]) == 0
    folded = onnx.load(out)
    onnx.checker.check_model(folded)
    assert all(node.op_type != "BatchNormalization" for node in folded.graph.node)
    assert "FoldPad: no change" in capsys.readouterr().err


def test_run_refuses_a_pass_that_needs_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.onnx"
    assert main(["passes", "run", str(MODEL), "--pass", "choose_schemes", "-o", str(out)]) == 1
    assert "ChooseSchemes needs" in capsys.readouterr().err
    assert not out.exists()


def test_list_and_show(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["passes", "list"]) == 0
    assert main(["passes", "show", "fold_pad"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in passes.names())
    assert "FoldPad" in printed


def test_the_reference_pages_are_up_to_date() -> None:
    command = [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
