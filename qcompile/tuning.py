"""Tune a model's kernels on a machine, and compile with what was found."""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, Self, runtime_checkable

import onnx_ir as ir

from qcompile import tuning_log
from qcompile.device import Device, check_fits
from qcompile.errors import CompileError
from qcompile.files import check_writable
from qcompile.host import host_caches
from qcompile.measuring import Measure, measure_on
from qcompile.target import Lowering, Target
from qcompile.tuning_log import Record
from qcompile.tuning_report import TuneReport

THREADS = 1
"""That candidates are measured with."""

Progress = Callable[[int, int, str], None]


@runtime_checkable
class Tunable(Protocol):
    """A lowering whose kernels have sizes to choose."""

    def with_records(self, records: Sequence[Record], /, *, only: bool = False) -> Lowering:
        """Return the lowering that follows these records, and `only` them."""
        ...

    def tune(
        self,
        model: ir.Model,
        measure: Measure,
        log: Path,
        /,
        *,
        caches: tuple[int, ...],
        seconds: float | None,
        progress: Progress | None,
    ) -> TuneReport:
        """Measure the candidates of a model's kernels that the log does not know."""
        ...


def tune_graph(
    graph: ir.Model,
    target: Target,
    log: Path,
    *,
    seconds: float | None = None,
    device: Device | None = None,
    progress: bool = False,
) -> TuneReport:
    """Measure the kernels of an integer graph and append the best to the log.

    Args:
        graph: The integer graph.
        target: What it is compiled for.
        log: The tuning log; what it knows already is not measured again.
        seconds: How long measuring may take; None takes what it takes.
        device: Where it is measured; None is this process.
        progress: Show a bar on stderr, where that is a terminal.

    Raises:
        CompileError: The target has nothing to tune, cannot run there, or the log cannot be
            written.
    """
    lowering = check_measurable(target, device)
    check_writable(log)
    caches = host_caches() if device is None else tuple(device.facts.get("caches", ()))
    measure = measure_on(target, device, THREADS)
    with _Bar(progress) as bar:
        return lowering.tune(
            graph, measure, log, caches=caches, seconds=seconds, progress=bar.show
        )


def check_measurable(target: Target, device: Device | None) -> Tunable:
    """Return the target's lowering; refuse what cannot be tuned before any work for it.

    Raises:
        CompileError: The target has nothing to tune, or does not run there.
    """
    lowering = target.lowering
    if not isinstance(lowering, Tunable):
        raise CompileError(
            f"{target.name} has no tile sizes to choose",
            where=f"target {target.name}",
            hint="see `qcompile targets`",
        )
    if device is not None:
        needs = (target.name, target.arch, target.features)
        check_fits(*needs, device.facts, where=device.url)
    measure_on(target, device, THREADS)
    return lowering


def with_log(target: Target, log: Path | None) -> Target:
    """Return the target that follows a tuning log, over the one in the package.

    Raises:
        CompileError: The log cannot be read, or the target has nothing to tune.
    """
    if log is None:
        return target
    if not isinstance(target.lowering, Tunable):
        raise CompileError(
            f"{target.name} has no tile sizes to choose", where=f"target {target.name}"
        )
    records = tuning_log.read(log)
    return dataclasses.replace(target, lowering=target.lowering.with_records(records))


def tuned_target(
    graph: ir.Model,
    target: Target,
    seconds: float | None,
    log: Path | None,
    *,
    progress: bool = False,
) -> Target:
    """Return the target that follows what was measured, after measuring for so many seconds.

    Args:
        graph: The integer graph.
        target: What it is compiled for.
        seconds: How long to measure; None measures nothing and takes the log as it is.
        log: What is known; it grows by what is measured. None takes a passing one.
        progress: Show a bar on stderr, where that is a terminal.
    """
    if seconds is None:
        return with_log(target, log)
    with tempfile.TemporaryDirectory(prefix="qcompile-") as folder:
        log = log or Path(folder) / "tuning.jsonl"
        tune_graph(graph, target, log, seconds=seconds, progress=progress)
        return with_log(target, log) if log.exists() else target


def replayed(lowering: Lowering, tuning: Sequence[object]) -> Lowering:
    """Return the lowering that chooses as it did when a manifest's `tuning` was written."""
    if not isinstance(lowering, Tunable):
        return lowering
    records = [Record.from_json(each) for each in tuning]
    return lowering.with_records([each for each in records if each is not None], only=True)


class _Bar:
    """A progress bar on stderr, where it is wanted and stderr is a terminal."""

    def __init__(self, wanted: bool) -> None:
        from tqdm import tqdm

        hidden = not (wanted and sys.stderr.isatty())
        self._bar = tqdm(unit="kernel", desc="tune", disable=hidden, leave=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def show(self, done: int, total: int, what: str) -> None:
        """Say how far it is."""
        self._bar.total = total
        self._bar.n = done
        self._bar.set_postfix_str(what)
