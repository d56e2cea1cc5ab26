"""Tuning: what is measured, what is chosen, what the compiler makes of it."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import pytest

import qcompile
from qcompile import tuning_log
from qcompile.cli import main
from qcompile.compiler import compile_model
from qcompile.config import CompileConfig
from qcompile.errors import CompileError
from qcompile.host import host_arch, host_caches, host_features
from qcompile.targets import TARGETS, fitting
from qcompile.targets.kernels.dense_conv import DenseConv
from qcompile.targets.kernels.depthwise_conv import DepthwiseConv
from qcompile.targets.kernels.epilogue import Epilogue
from qcompile.targets.layout import Halo, Layout
from qcompile.targets.lowering import TvmLowering
from qcompile.targets.trials import Trial
from qcompile.targets.tuning import shipped, tuner
from qcompile.targets.tuning.candidates import MOST, SKIPPED, candidates, trials
from qcompile.targets.tuning.choices import Choices, key_of, shape_of, sizes, tile_of
from qcompile.targets.tuning.tuner import MARGIN, best, tune_kernels
from qcompile.targets.tuning.version import normal
from qcompile.targets.x86_isa import AVX2, VNNI512
from qcompile.tuning_log import Record
from qcompile.tuning_report import TuneReport
from tests.nets import NETS, net, samples

Times = npt.NDArray[np.float64]
HERE = [target.name for target in fitting(host_arch(), host_features())]
needs_target = pytest.mark.skipif(not HERE, reason="no target fits this machine")

NET = "depthwise and pointwise"
STATIC = CompileConfig(recipe="static-int8")


def dense(channels: int = 64, **fields: Any) -> DenseConv:
    layout = Layout(1, 14, 14, channels, channels)
    fields = {"isa": VNNI512, "epilogue": Epilogue(dtype="uint8"), **fields}
    return DenseConv(x=layout, y=layout, **fields)


def depthwise() -> DepthwiseConv:
    x = Layout(1, 14, 14, 64, 64, Halo(1, 1, 1, 1))
    y = Layout(1, 14, 14, 64, 64)
    return DepthwiseConv(
        x=x, y=y, isa=VNNI512, epilogue=Epilogue(dtype="uint8"), kernel=(3, 3), pads=(1, 1)
    )


def record(kernel: Any, tile: Any, **fields: Any) -> Record:
    isa, name, version, shape = key_of(kernel)
    made = Record(
        isa=isa,
        caches=(),
        kernel=name,
        version=version,
        shape=shape,
        tile=sizes(tile),
        seconds=1.0,
        untuned=sizes(kernel.tile),
        untuned_seconds=2.0,
        candidates=8,
    )
    return dataclasses.replace(made, **fields)


class Machine:
    """Gives each tile a time of its own, by `cost`, and counts what is measured."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, cost: Callable[[Any], float] | None = None
    ) -> None:
        self.built: list[list[Trial]] = []
        self.cost = cost or (lambda tile: 1.0)
        self.now = 0.0
        monkeypatch.setattr(tuner, "build_trials", self.build)

    def build(self, isa: Any, trials: list[Trial]) -> tuple[bytes, None]:
        self.built.append(trials)
        return b"", None

    def measure(self, library: bytes, model: Any, runs: int) -> Times:
        templates: list[Any] = [trial.template for trial in self.built[-1]]
        row = [self.cost(getattr(each, "tile", None)) for each in templates]
        drift = np.random.default_rng(0).uniform(1, 3, (runs, 1))  # the machine's speed
        self.now += 1.0
        return np.array([row] * runs) * drift

    def tune(self, kernels: list[Any], log: Path, **options: Any) -> TuneReport:
        options = {"caches": (1, 2), "clock": lambda: self.now, **options}
        return tune_kernels(kernels, VNNI512, self.measure, log, **options)


def test_the_candidates_begin_with_the_cost_models_choice() -> None:
    for kernel in (dense(), depthwise()):
        found = candidates(kernel)
        assert found[0] == kernel.tile == kernel.tile_choices()[0]
        assert 1 < len(found) == len(set(found)) <= MOST
        assert all(tile_of(kernel, record(kernel, tile)) == tile for tile in found)
        assert found == candidates(kernel)


def test_every_candidate_is_called_once_on_the_same_input() -> None:
    tiles = candidates(dense(), 3)
    _, first, *rest = trials(dense(), tiles)
    assert [trial.template.tile for trial in rest] == tiles  # type: ignore[attr-defined]
    assert len(rest) == len(tiles)
    assert SKIPPED == 2
    for trial in rest:
        np.testing.assert_array_equal(trial.arguments[0], first.arguments[0])
        assert len(trial.arguments[1]) == len(first.arguments[1])


def test_indices_are_true_ones() -> None:
    kernel = dense(group=4, kernel=(1, 1))
    for trial in trials(kernel, candidates(kernel))[1:]:
        template: Any = trial.template
        expected = [block.base for block in template.blocks()]
        np.testing.assert_array_equal(trial.arguments[2], expected)


def test_the_fastest_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = dense()
    wanted = candidates(kernel)[3]
    machine = Machine(monkeypatch, lambda tile: 0.5 if tile == wanted else 1.0)
    report = machine.tune([kernel, kernel], tmp_path / "log")
    assert (report.kernels, report.measured, report.better, report.left) == (1, 1, 1, 0)
    (found,) = tuning_log.read(tmp_path / "log")
    assert found.tile == sizes(wanted)
    assert found.untuned == sizes(kernel.tile)
    assert found.caches == (1, 2)
    assert Choices((found,)).apply(kernel, found).tile == wanted


@pytest.mark.parametrize("cost", [1.0, 1 - MARGIN + 0.001, 1.5])
def test_the_untuned_choice_wins_ties_within_the_noise(
    cost: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = dense()
    machine = Machine(monkeypatch, lambda tile: 1.0 if tile == kernel.tile else cost)
    assert machine.tune([kernel], tmp_path / "log").better == 0
    (found,) = tuning_log.read(tmp_path / "log")
    assert found.tile == found.untuned


def test_a_tile_must_be_faster_twice() -> None:
    faster, slower = np.array([[1.0, 0.5]] * 3), np.array([[1.0, 1.2]] * 3)
    assert best(faster, faster) == 1
    assert best(faster, slower) == 0
    assert best(faster * 1e-7) == 0  # 50 ns: the clock cannot tell
    assert best(np.array([[1.0, 0.9], [10.0, 9.0], [1.0, 5.0]])) == 1


def test_what_the_log_knows_is_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    machine = Machine(monkeypatch)
    machine.tune([dense()], log)
    report = machine.tune([dense(), depthwise()], log)
    assert (report.kernels, report.known, report.measured) == (2, 1, 1)
    assert len(machine.built) == 2
    assert machine.tune([dense(), depthwise()], log).measured == 0
    assert machine.tune([dense()], log, caches=(3, 4)).measured == 1  # another machine


def test_no_kernel_is_begun_that_would_end_too_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes 2 of the machine's seconds: one run alone and one round."""
    machine = Machine(monkeypatch)
    kernels = [dense(16), dense(256), dense(32), dense(64)]
    report = machine.tune(kernels, tmp_path / "log", seconds=5.0)
    assert (report.measured, report.left) == (2, 2)
    assert report.seconds <= 5.0
    largest = [shape_of(dense(channels)) for channels in (256, 64)]
    assert [each.shape for each in tuning_log.read(tmp_path / "log")] == largest
    report = machine.tune(kernels, tmp_path / "log")
    assert (report.known, report.measured, report.left) == (2, 2, 0)


def test_equal_measurements_give_equal_logs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cost(tile: Any) -> float:
        return 1.0 + hash(str(dataclasses.astuple(tile))) % 7 if tile else 1.0

    logs = [tmp_path / "a", tmp_path / "b"]
    for log in logs:
        Machine(monkeypatch, cost).tune([dense(), depthwise(), dense(32)], log)
    assert logs[0].read_bytes() == logs[1].read_bytes()


def test_the_key_is_what_the_time_hangs_on() -> None:
    kernel = dense()
    same = [
        dataclasses.replace(kernel, tile=candidates(kernel)[1]),
        dataclasses.replace(kernel, parallel=True),
        dense(epilogue=Epilogue(dtype="uint8", zero_point=3, lo=3, hi=100)),
    ]
    others: list[Any] = [
        dense(32),
        dense(epilogue=Epilogue(dtype="int8")),
        dense(strides=(1, 1), residual=Layout(1, 14, 14, 64, 64)),
        dense(isa=AVX2),
        depthwise(),
    ]
    assert {key_of(each) for each in same} == {key_of(kernel)}
    assert len({key_of(each) for each in others}) == len(others)
    assert key_of(kernel) not in {key_of(each) for each in others}


def test_the_version_hangs_on_code_not_on_its_look() -> None:
    code = 'def f(x):\n    """Doc."""\n    return x + 1  # more\n'
    assert normal(code) == normal("def f(x):\n  return (x +\n     1)\n")
    assert normal(code) != normal(code.replace("1", "2"))


def test_which_log_counts() -> None:
    kernel = dense()
    a, b, c, d = candidates(kernel)[:4]
    mine, theirs = (1, 1), (2, 2)
    own = (record(kernel, a, caches=mine), record(kernel, b, caches=theirs))
    packed = (record(kernel, c, caches=mine), record(kernel, d, caches=theirs))

    def chosen(choices: Choices) -> Any:
        found = choices.find(kernel)
        return found and dict(found.tile)

    def tile(each: Any) -> dict[str, int]:
        return dict(sizes(each))

    assert chosen(Choices(own, packed, mine)) == tile(a)
    assert chosen(Choices(own, packed, theirs)) == tile(b)
    assert chosen(Choices(own, packed, (3, 3))) == tile(b)  # the last of the user's
    assert chosen(Choices((), packed, mine)) == tile(c)
    assert chosen(Choices((), packed, (3, 3))) is None  # not measured on such a machine
    assert chosen(Choices((), packed, ())) == tile(d)  # nobody knows for which
    assert chosen(Choices((*own, own[0]), (), mine)) == tile(a)
    assert Choices(own).find(dense(32)) is None


@pytest.mark.parametrize(
    "tile",
    [
        (("chunk", 1), ("pixels", 31), ("vectors", 4)),
        (("chunk", 1), ("pixels", 4)),
        (("chunk", 1), ("pixels", 4), ("vectors", 1), ("more", 1)),
    ],
)
def test_a_tile_that_does_not_fit_is_left_out(tile: tuple[tuple[str, int], ...]) -> None:
    kernel = dense()
    bad = dataclasses.replace(record(kernel, kernel.tile), tile=tile)
    assert tile_of(kernel, bad) is None
    assert Choices((bad,)).find(kernel) is None


def test_the_shipped_log_fits_the_code() -> None:
    """Whatever ships is of an instruction set that there is."""
    names = {
        target.lowering.isa.name
        for target in TARGETS.values()
        if isinstance(target.lowering, TvmLowering)
    }
    for log in Path(shipped.__file__).parent.glob("*.jsonl"):
        assert {each.isa for each in tuning_log.read(log)} <= names


def odd_log(target: str, log: Path) -> int:
    """Write a log that says the last candidate is the best for every kernel of NET."""
    chosen = TARGETS[target]
    model = net(NETS[NET])
    lowering = chosen.lowering
    assert isinstance(lowering, TvmLowering)
    graph = compile_model(
        model, target, calibration=samples(model, 2), config=STATIC
    ).integer_graph
    kernels: list[Any] = []

    def tune(found: list[Any], *_: Any, **__: Any) -> None:
        kernels.extend(found)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuner, "tune_kernels", tune)
        lowering.tune(graph, lambda *_: np.zeros((1, 1)), log, caches=())
    for kernel in kernels:
        last = candidates(kernel)[-1]
        assert last != kernel.tile
        tuning_log.append(log, record(kernel, last))
    return len(kernels)


@needs_target
@pytest.mark.parametrize("target", HERE)
def test_a_tuned_choice_is_used_and_still_exact(target: str, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    count = odd_log(target, log)
    model = net(NETS[NET])
    data = samples(model, 2)
    plain = compile_model(model, target, calibration=data, config=STATIC)
    tuned = compile_model(model, target, calibration=data, config=STATIC, tune_log=log)

    def tiles(each: qcompile.CompiledModel) -> list[str]:
        return [kernel["tile"] for kernel in each.manifest["kernels"] if kernel["macs"]]

    assert len(tiles(tuned)) == count == len(tuned.manifest["tuning"])
    assert all(a != b for a, b in zip(tiles(plain), tiles(tuned), strict=True))
    for inputs in samples(model, 3, seed=1):
        for name, expected in plain.run(inputs).items():
            np.testing.assert_array_equal(tuned.run(inputs)[name], expected, strict=True)
    assert tuned.validate(data)["oracle"]["bit_exact"]
    tuned.save(tmp_path / "m.qcm")
    loaded = qcompile.load(tmp_path / "m.qcm")
    built = loaded.lowering.build(loaded.integer_graph)
    assert [each.tile for each in built.kernels if each.macs] == tiles(tuned)
    assert loaded.lowering.build(loaded.integer_graph).library == tuned.library


@pytest.fixture
def source(tmp_path: Path) -> Path:
    onnx.save(ir.to_proto(net(NETS[NET])), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


@needs_target
def test_commands(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log, data = tmp_path / "log.jsonl", tmp_path / "c.npz"
    given = [str(source), "--target", "native"]
    tune = ["tune", *given, "--recipe", "static-int8", "--log", str(log)]
    assert main(tune) == 0
    assert "kernels measured in" in capsys.readouterr().out
    records = tuning_log.read(log)
    assert {each.caches for each in records} == {host_caches()}
    assert main([*tune, "--json"]) == 0
    assert '"measured": 0' in capsys.readouterr().out
    assert tuning_log.read(log) == records
    x = np.concatenate([each["x"] for each in samples(net(NETS[NET]), 2)])
    np.savez(data, x=x)
    out = ["--recipe", "static-int8", "--calib", str(data), "-o", str(tmp_path / "m.qcm")]
    assert main(["compile", *given, *out, "--tune-log", str(log)]) == 0
    assert len(qcompile.load(tmp_path / "m.qcm").manifest["tuning"]) == len(records)
    begin = time.monotonic()
    assert main(["compile", *given, *out, "--tune", "0.01"]) == 0
    assert time.monotonic() - begin < 60
    assert main(["compile", *given, *out, "--tune-log", str(tmp_path / "none")]) == 1
    assert "cannot read the tuning log" in capsys.readouterr().err


def test_what_cannot_run_here_is_refused_at_once(source: Path, tmp_path: Path) -> None:
    target = next(name for name, each in TARGETS.items() if each.arch != host_arch())
    with pytest.raises(CompileError, match="cannot be measured on this machine"):
        qcompile.tune(source, target, tmp_path / "log.jsonl")
    with pytest.raises(CompileError, match="no such folder"):
        qcompile.tune(source, "x86-vnni", tmp_path / "no" / "log.jsonl")


@needs_target
def test_killed_while_it_tunes(source: Path, tmp_path: Path) -> None:
    """What was measured before stays, and the next run does the rest."""
    log = tmp_path / "log.jsonl"
    command = [sys.executable, "-m", "qcompile", "tune", str(source), "--target", "native"]
    command += ["--recipe", "static-int8", "--log", str(log), "--json"]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (log.exists() and log.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    before = tuning_log.read(log)
    assert before
    report = qcompile.tune(source, "native", log, config=STATIC)
    assert report.known >= len(before)
    assert report.left == 0
    assert tuning_log.read(log)[: len(before)] == before
    assert len(tuning_log.read(log)) == report.kernels
