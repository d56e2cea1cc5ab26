"""Explain: every kernel call is timed, and every node of the graph has a row."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import qcompile
from qcompile.cli import main
from qcompile.cli.explain import NEARER, describe_explanation
from qcompile.config import CompileConfig
from qcompile.errors import CompileError, ConfigError
from qcompile.explanation import FREE, NO_REASON, Explanation, Row, explain, explained
from qcompile.model import CompiledModel
from qcompile.peaks import Peaks
from qcompile.report import node_name
from qcompile.target import KernelInfo
from qcompile.targets import native
from tests import compiled as fakes
from tests.nets import NETS, net, samples

PEAKS = Peaks(2e11, 5e10, ((1000, 1e11), (1_000_000, 1e10)))


@pytest.fixture(scope="module")
def model() -> CompiledModel:
    """A network of which one operator is kept in float, compiled for this machine."""
    try:
        target = native()
    except ConfigError:
        pytest.skip("no target fits this machine")
    source = net(NETS["convolutions and a residual"])
    config = CompileConfig(recipe="static-int8", float_ops=("Add",))
    return qcompile.compile(source, target, calibration=samples(source, 2), config=config)


def test_every_node_has_a_row_and_every_call_a_time(model: CompiledModel) -> None:
    report = model.explain(threads=1, runs=3)
    rows = [row for row in report.rows if row.kernel != FREE]
    assert len(rows) == len(model.manifest["kernels"])
    assert all(row.ms > 0 for row in rows)
    assert [row.ms for row in report.rows] == sorted((r.ms for r in report.rows), reverse=True)
    named = {name for row in report.rows for name in row.node.split(", ")}
    assert {node_name(node) for node in model.integer_graph.graph} <= named
    assert report.total_ms == pytest.approx(sum(row.ms for row in rows))
    assert sum(row.macs for row in rows) == model.report["macs"]["integer"]
    assert report.peaks is not None
    for row in rows:
        if row.macs:  # a rate above the peak of the instruction is a wrong peak
            assert row.arithmetic is not None
            assert 0 < row.arithmetic < 2


def test_a_float_node_says_why_and_what_it_costs(model: CompiledModel) -> None:
    report = model.explain(threads=1, runs=3)
    floats = [row for row in report.rows if row.float_reason is not None]
    assert any(row.ms for row in floats)
    assert report.float_ms == pytest.approx(sum(row.ms for row in floats))
    text = describe_explanation(report)
    assert f"float, {report.float_ms:.3f} ms: " in text
    assert str(floats[0].float_reason) in text
    assert "total" in text


def test_the_machine_is_measured_once(
    model: CompiledModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = model.explain(threads=1, runs=1).peaks
    monkeypatch.setattr(type(model.target.lowering), "peaks", None)
    assert model.explain(threads=1, runs=1).peaks is known


def rows(infos: list[KernelInfo], *names: str, integer: bool = False) -> list[Row]:
    x = ir.val("x", dtype=ir.DataType.UINT8 if integer else None)
    nodes = {name: ir.node("Relu", [x], name=name) for name in names}
    return list(explained(infos, [0.001] * len(infos), nodes, PEAKS))


def test_shares_are_of_the_floors() -> None:
    info = KernelInfo("a", "k", macs=25_000_000, bytes=1_000_000)
    (row,) = rows([info], "a")
    assert row.ms == pytest.approx(1.0)
    assert row.gmacs_per_second == pytest.approx(25.0)
    assert row.arithmetic == pytest.approx(0.5)
    assert row.bandwidth == pytest.approx(0.1)
    assert row.float_reason == NO_REASON
    (row,) = rows([info], "a", integer=True)
    assert row.arithmetic == pytest.approx(0.125)
    assert row.float_reason is None


def test_more_than_the_speed_of_a_copy_is_explained() -> None:
    found = tuple(rows([KernelInfo("a", "k", bytes=200_000_000)], "a"))
    report = Explanation(
        threads=1, runs=1, total_ms=1.0, float_ms=1.0, peaks=PEAKS, rows=found
    )
    text = describe_explanation(report)
    assert "2000 %" in text
    assert NEARER in text
    slow = dataclasses.replace(found[0], bandwidth=0.5)
    assert NEARER not in describe_explanation(dataclasses.replace(report, rows=(slow,)))


def test_a_larger_kernel_than_any_copy_has_the_slowest_copys_speed() -> None:
    assert PEAKS.memory_seconds(1000) == pytest.approx(1e-8)
    assert PEAKS.memory_seconds(1001) == pytest.approx(1001 / 1e10)
    assert PEAKS.memory_seconds(10**9) == pytest.approx(0.1)
    assert PEAKS.memory_seconds(0) == 0.0


def test_a_change_of_layout_names_what_it_is_for() -> None:
    infos = [KernelInfo("", "Move"), KernelInfo("a, b", "Float"), KernelInfo("", "Move")]
    assert [row.node for row in rows(infos, "a", "b", "c")] == [
        "before a, b",
        "a, b",
        "outputs",
        "c",
    ]
    assert rows(infos, "a", "b", "c")[-1].kernel == FREE


def test_a_target_that_times_nothing_is_refused() -> None:
    with pytest.raises(CompileError, match="does not time its kernels"):
        explain(fakes.compiled())


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        native()
    except ConfigError:
        pytest.skip("no target fits this machine")
    source = net(NETS["convolutions and a residual"])
    onnx.save(ir.to_proto(source), tmp_path / "m.onnx")
    sample = samples(source, 2)
    np.savez(tmp_path / "c.npz", x=np.concatenate([each["x"] for each in sample]))
    out = tmp_path / "m.qcm"
    given = ["compile", str(tmp_path / "m.onnx"), "--calib", str(tmp_path / "c.npz")]
    given += ["-o", str(out), "--explain"]
    assert main([*given, "--target", "native"]) == 0
    assert "of peak" in capsys.readouterr().out
    assert main(["bench", str(out), "--runs", "2", "--explain", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)["explain"]
    assert report["threads"] == 1
    assert {"node", "kernel", "tile", "ms", "float_reason"} <= report["rows"][0].keys()
    assert main([*given, "--target", "arm-i8mm"]) == 1
    assert "--explain: kernels for arm-i8mm cannot be timed" in capsys.readouterr().err
