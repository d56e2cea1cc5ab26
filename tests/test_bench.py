"""The benchmark: turns, figures, and peers that really run in 8 bits."""

from __future__ import annotations

import functools
import itertools
import os
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from qcompile import threads
from qcompile.artifact import graph_bytes
from qcompile.benchmark import peers
from qcompile.benchmark.bench import TURN, interleave, latency, peer_result
from qcompile.benchmark.peers import FLOAT32, INT8, Peer
from qcompile.errors import CompileError
from qcompile.graphs.sum_steps import with_sum_steps
from qcompile.threads import VARIABLE
from tests.compiled import compiled, float_model
from tests.graphs import assert_graph, graph


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "1")


def test_turns_rotate_and_every_candidate_runs_as_often() -> None:
    calls: list[str] = []
    clock = itertools.count()
    times = interleave(
        {name: functools.partial(calls.append, name) for name in "abc"},
        12,
        lambda: float(next(clock)),
    )
    assert {name: len(each) for name, each in times.items()} == {"a": 12, "b": 12, "c": 12}
    turns = [name for name, _ in itertools.groupby(calls)]
    assert turns == list("abc" + "bca" + "cab")
    assert [len(list(group)) for _, group in itertools.groupby(calls)] == [6] * 6 + [3] * 3
    assert TURN == 5
    assert set(times["a"]) == {1.0}


def test_figures_are_milliseconds() -> None:
    figures = latency([0.001, 0.002, 0.003, 0.004, 0.1])
    assert figures["median"] == pytest.approx(3.0)
    assert figures["min"] == pytest.approx(1.0)
    assert figures["p95"] == pytest.approx(80.8)


def test_the_faster_model_is_the_peers_latency() -> None:
    slow = latency([0.004])
    fast = latency([0.002])
    result = peer_result("1.0", {INT8: slow, FLOAT32: fast}, latency([0.001]))
    assert result["model"] == FLOAT32
    assert result["latency_ms"] == fast
    assert result["speedup"] == pytest.approx(2.0)
    assert result["models"] == {INT8: slow, FLOAT32: fast}


def test_bench_against_onnxruntime(tmp_path: Path) -> None:
    path = float_model(tmp_path)
    report = compiled(reference=path).bench(against=["onnxruntime"], runs=7, reference=path)
    assert report["target"] == "fake"
    assert report["threads"] == 1
    assert report["runs"] == 7
    assert set(report["latency_ms"]) == {"median", "min", "p95"}
    peer = report["against"]["onnxruntime"]
    assert peer["version"] == onnxruntime.__version__
    assert set(peer["models"]) == {INT8, FLOAT32}
    best = min(each["median"] for each in peer["models"].values())
    assert peer["speedup"] == pytest.approx(best / report["latency_ms"]["median"])


def test_artifact_alone_is_enough() -> None:
    report = compiled().bench(against=["onnxruntime"], runs=3)
    assert report["against"]["onnxruntime"]["model"] == INT8


def test_unknown_peer_is_refused_with_the_nearest() -> None:
    with pytest.raises(CompileError, match=r"unknown peer 'onxruntime'\n.*'onnxruntime'\?"):
        compiled().bench(against=["onxruntime"])


def test_missing_peer_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(peers.PEERS, "absent", Peer("absent-xyz", peers.open_onnxruntime))
    with pytest.raises(CompileError, match=r"not installed\n  hint: pip install absent-xyz"):
        compiled().bench(against=["absent"])


def test_a_thread_count_holds_for_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    assert threads.current() == 1
    with threads.using(2):
        assert threads.current() == 2
        with threads.using(None):
            assert threads.current() == 2
    assert threads.current() == 1


def test_more_threads_than_cores_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    refusal = pytest.raises(
        CompileError, match=r"3 threads, and this process may use 2 cores\n"
    )
    with refusal, threads.using(3):
        pass
    monkeypatch.setenv(VARIABLE, "64")
    assert threads.current() == 2


RESIDUAL = """g (float[1,8,6,6] x) => (float[1,8,6,6] y)
<float s = {{0.05}}, uint8 z = {{{z}}}, float ws = {{0.01}}, int8 wz = {{0}},
 int8[8,8,3,3] w = {{{weights}}}>
{{ q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)
   wd = DequantizeLinear(w, ws, wz)
   c = Conv <pads = [1,1,1,1]> (d, wd)
   t = Add(c, d)  a = Relu(t)
   p = QuantizeLinear(a, s, z)  y = DequantizeLinear(p, s, z) }}"""


def residual(z: int = 10) -> ir.Model:
    weights = np.random.default_rng(3).integers(-127, 128, 8 * 8 * 3 * 3)
    return graph(RESIDUAL.format(z=z, weights=", ".join(map(str, weights))))


def test_step_is_put_before_the_residual_add() -> None:
    before = residual()
    after = with_sum_steps(before)
    expected = [
        "QuantizeLinear",
        "DequantizeLinear",
        "DequantizeLinear",
        "Conv",
        "QuantizeLinear",
        "DequantizeLinear",
        "Add",
        "Relu",
        "QuantizeLinear",
        "DequantizeLinear",
    ]
    assert [node.op_type for node in after.graph] == expected
    assert len(before.graph) == len(expected) - 2
    onnx.checker.check_model(ir.to_proto(after), full_check=True)


@pytest.mark.parametrize(("z", "scale", "zero_point"), [(10, 0.05, 10), (0, 0.1, 128)])
def test_one_sided_sum_leaves_room_for_negative_summands(
    z: int, scale: float, zero_point: int
) -> None:
    model = with_sum_steps(residual(z))
    step = next(
        node
        for node in model.graph
        if node.inputs[0] is not None and node.inputs[0].name == "c"
    )
    values = [
        value.const_value.numpy().item()
        for value in step.inputs[1:]
        if value and value.const_value
    ]
    assert values == [pytest.approx(scale), zero_point]


KEPT = {
    "sum without a step": """g (float[2] x) => (float[2] y) <float[2,2] w = {1, 2, 3, 4}>
        { m = MatMul(x, w)  y = Add(m, x) }""",
    "product with a step": """g (float[2] x) => (float[2] y)
        <float s = {0.5}, uint8 z = {0}, float[2,2] w = {1, 2, 3, 4}>
        { m = MatMul(x, w)  q = QuantizeLinear(m, s, z)  d = DequantizeLinear(q, s, z)
          t = Add(d, x)  p = QuantizeLinear(t, s, z)  y = DequantizeLinear(p, s, z) }""",
}


@pytest.mark.parametrize("text", KEPT.values(), ids=KEPT)
def test_keeps(text: str) -> None:
    assert_graph(with_sum_steps(graph(text)), text)


def test_onnxruntime_then_runs_the_convolution_in_integers(tmp_path: Path) -> None:
    def operators(model: ir.Model) -> list[str]:
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
        options.log_severity_level = 3
        onnxruntime.InferenceSession(
            graph_bytes(model), options, providers=["CPUExecutionProvider"]
        )
        return [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]

    model = residual(0)
    assert "QLinearConv" not in operators(model)
    assert {"QLinearConv", "QLinearAdd"} <= set(operators(with_sum_steps(model)))
