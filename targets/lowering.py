"""Lower an integer graph to a library through TVM, and load it again.

TVM is imported where something is built: a run needs none of it.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import onnx_ir as ir

from qcompile.bundle import memory
from qcompile.bundle.c_source import Source
from qcompile.host import host_arch, host_caches
from qcompile.target import Built, Runner
from qcompile.targets.runner import LibraryRunner
from qcompile.tensors import Tensor
from qcompile.tuning_log import Record

if TYPE_CHECKING:
    from qcompile.bundle.program import Program
    from qcompile.measuring import Measure
    from qcompile.peaks import Peaks
    from qcompile.targets.isa import Isa
    from qcompile.targets.tuning.choices import Choices
    from qcompile.tuning_report import TuneReport


@dataclasses.dataclass(frozen=True)
class TvmLowering:
    """Kernels from templates for one instruction set, float islands from TVM's importer.

    Attributes:
        find_isa: Gives the instruction set.
        records: What a tuning log says; it goes over the log in the package.
        replays: Whether that one is left out: a model is built again as it was.
    """

    find_isa: Callable[[], Isa]
    records: tuple[Record, ...] = ()
    replays: bool = False

    @property
    def isa(self) -> Isa:
        """The instruction set."""
        return self.find_isa()

    def build(self, model: ir.Model, *, every_value: bool = False) -> Built:
        """Compile the integer graph; see `qcompile.target.Lowering`."""
        from qcompile.targets.build import build_library
        from qcompile.targets.emission import emitted
        from qcompile.targets.emitter import Emitter
        from qcompile.targets.program import faster_kernels, make_program

        emitter = Emitter(model.graph, self.isa, choices=self.choices())
        outputs = outputs_of(model.graph, every_value=every_value)
        module = emitted(model.graph, emitter, outputs)
        program = make_program(module, self.isa.tvm_target, emitter.kernels)
        program = dataclasses.replace(
            program, faster=faster_kernels(emitter.faster(), self.isa)
        )
        source = Source(
            target=self.isa.name,
            inputs=tuple(model.graph.inputs),
            outputs=tuple(outputs),
            program=program,
            arena=memory.plan(program),
        )
        library = build_library(source, self.isa.tvm_target["mtriple"])
        return Built(library, program.kernels(), tuple(dict.fromkeys(emitter.used)))

    def program(self, model: ir.Model) -> Program:
        """Compile the integer graph to be called from C; see `qcompile.bundle.program`."""
        from qcompile.targets.emission import emitted
        from qcompile.targets.emitter import Emitter
        from qcompile.targets.program import make_program

        emitter = Emitter(model.graph, self.isa, threads=False, choices=self.choices())
        module = emitted(model.graph, emitter, model.graph.outputs)
        return make_program(module, self.isa.tvm_target, emitter.kernels)

    def choices(self) -> Choices:
        """Return what the logs say for this machine; for any, where it is for another one."""
        from qcompile.targets.tuning.choices import Choices
        from qcompile.targets.tuning.shipped import shipped

        here = self.isa.tvm_target["mtriple"].startswith(host_arch())
        return Choices(
            records=self.records,
            shipped=() if self.replays else shipped(self.isa.name),
            caches=host_caches() if here else (),
        )

    def with_records(self, records: Sequence[Record], *, only: bool = False) -> TvmLowering:
        """Return the lowering that follows a tuning log; see `qcompile.tuning.Tunable`."""
        return dataclasses.replace(self, records=tuple(records), replays=only)

    def tune(
        self,
        model: ir.Model,
        measure: Measure,
        log: Path,
        *,
        caches: tuple[int, ...],
        seconds: float | None = None,
        progress: Callable[[int, int, str], None] | None = None,
    ) -> TuneReport:
        """Measure the candidates of a model's kernels; see `qcompile.tuning.Tunable`."""
        from qcompile.targets.emission import emitted
        from qcompile.targets.emitter import Emitter
        from qcompile.targets.tuning.tuner import tune_kernels

        emitter = Emitter(model.graph, self.isa)
        emitted(model.graph, emitter, outputs_of(model.graph, every_value=False))
        return tune_kernels(
            emitter.tunable,
            self.isa,
            measure,
            log,
            caches=caches,
            seconds=seconds,
            progress=progress,
        )

    def peaks(self, measure: Measure) -> Peaks:
        """Return the peaks of a machine; see `qcompile.explanation.Calibrated`."""
        from qcompile.targets.peaks import measure_peaks

        return measure_peaks(self.isa, measure)

    def load(self, library: Path, model: ir.Model, *, every_value: bool = False) -> Runner:
        """Load a built library; see `qcompile.target.Lowering`."""
        outputs = outputs_of(model.graph, every_value=every_value)
        inputs = map(Tensor.of, model.graph.inputs)
        return LibraryRunner(library, list(inputs), list(map(Tensor.of, outputs)))


def isa(module: str, name: str) -> Callable[[], Isa]:
    """Return what imports an instruction set of a module of qcompile.targets."""

    def find() -> Isa:
        found: Isa = getattr(importlib.import_module(f"qcompile.targets.{module}"), name)
        return found

    return find


def outputs_of(graph: ir.Graph, *, every_value: bool) -> list[ir.Value]:
    """Return what a library gives out: the graph outputs, and then every other value."""
    outputs = list(graph.outputs)
    if every_value:
        produced = [value for node in graph for value in node.outputs if value.name]
        outputs += [value for value in produced if value not in outputs]
    return outputs
