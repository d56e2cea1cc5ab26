"""Lower an integer graph to a library through TVM, and load it again.

TVM is imported where something is built: a run needs none of it.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import onnx_ir as ir

from qcompile.bundle import memory
from qcompile.bundle.c_source import Source
from qcompile.target import Built, Runner
from qcompile.targets.runner import LibraryRunner

if TYPE_CHECKING:
    from qcompile.bundle.program import Program
    from qcompile.peaks import Peaks
    from qcompile.targets.isa import Isa
    from qcompile.targets.trials import Measure


@dataclasses.dataclass(frozen=True)
class TvmLowering:
    """Kernels from templates for one instruction set, float islands from TVM's importer.

    Attributes:
        find_isa: Gives the instruction set.
    """

    find_isa: Callable[[], Isa]

    @property
    def isa(self) -> Isa:
        """The instruction set."""
        return self.find_isa()

    def build(self, model: ir.Model, *, every_value: bool = False) -> Built:
        """Compile the integer graph; see `qcompile.target.Lowering`."""
        from qcompile.targets.build import build_library
        from qcompile.targets.emission import emitted
        from qcompile.targets.emitter import Emitter
        from qcompile.targets.program import make_program

        emitter = Emitter(model.graph, self.isa)
        outputs = outputs_of(model.graph, every_value=every_value)
        module = emitted(model.graph, emitter, outputs)
        program = make_program(module, self.isa.tvm_target, emitter.kernels)
        source = Source(
            target=self.isa.name,
            inputs=tuple(model.graph.inputs),
            outputs=tuple(outputs),
            program=program,
            arena=memory.plan(program),
        )
        library = build_library(source, self.isa.tvm_target["mtriple"])
        return Built(library, program.kernels())

    def program(self, model: ir.Model) -> Program:
        """Compile the integer graph to be called from C; see `qcompile.bundle.program`."""
        from qcompile.targets.emission import emitted
        from qcompile.targets.emitter import Emitter
        from qcompile.targets.program import make_program

        emitter = Emitter(model.graph, self.isa, threads=False)
        module = emitted(model.graph, emitter, model.graph.outputs)
        return make_program(module, self.isa.tvm_target, emitter.kernels)

    def peaks(self, measure: Measure) -> Peaks:
        """Return the peaks of a machine; see `qcompile.explanation.Calibrated`."""
        from qcompile.targets.peaks import measure_peaks

        return measure_peaks(self.isa, measure)

    def load(self, library: Path, model: ir.Model, *, every_value: bool = False) -> Runner:
        """Load a built library; see `qcompile.target.Lowering`."""
        outputs = outputs_of(model.graph, every_value=every_value)
        return LibraryRunner(library, model.graph.inputs, outputs)


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
