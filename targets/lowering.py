"""Lower an integer graph to a library through TVM, and load it again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import onnx_ir as ir
from tvm.tirx import PrimFunc

from qcompile.bundle import memory
from qcompile.bundle.c_source import Source
from qcompile.bundle.program import Program
from qcompile.errors import CompileError
from qcompile.target import Built, Runner
from qcompile.targets.build import build_library
from qcompile.targets.emitter import Emitter
from qcompile.targets.isa import Isa
from qcompile.targets.islands import Island, cluster, refuse_control_flow
from qcompile.targets.program import make_program
from qcompile.targets.rules import emit_node, has_rule
from qcompile.targets.runner import LibraryRunner

Step = Callable[[], None]
"""Emits one node or island."""


@dataclasses.dataclass(frozen=True)
class TvmLowering:
    """Kernels from templates for one instruction set, float islands from TVM's importer."""

    isa: Isa

    def build(self, model: ir.Model, *, every_value: bool = False) -> Built:
        """Compile the integer graph; see `qcompile.target.Lowering`."""
        emitter = Emitter(model.graph, self.isa)
        outputs = outputs_of(model.graph, every_value=every_value)
        program = make_program(emitted(model.graph, emitter, outputs), self.isa.tvm_target)
        source = Source(
            target=self.isa.name,
            inputs=tuple(model.graph.inputs),
            outputs=tuple(outputs),
            program=program,
            arena=memory.plan(program),
        )
        library = build_library(source, self.isa.tvm_target["mtriple"])
        return Built(library, tuple(emitter.kernels))

    def program(self, model: ir.Model) -> Program:
        """Compile the integer graph to be called from C; see `qcompile.bundle.program`."""
        emitter = Emitter(model.graph, self.isa, threads=False)
        module = emitted(model.graph, emitter, model.graph.outputs)
        return make_program(module, self.isa.tvm_target)

    def load(self, library: Path, model: ir.Model, *, every_value: bool = False) -> Runner:
        """Load a built library; see `qcompile.target.Lowering`."""
        outputs = outputs_of(model.graph, every_value=every_value)
        return LibraryRunner(library, model.graph.inputs, outputs)


def emitted(graph: ir.Graph, emitter: Emitter, outputs: Sequence[ir.Value]) -> Any:
    """Return the IRModule of a graph: integer nodes by rule, float ones as islands."""
    refuse_control_flow(graph)
    kept = frozenset(outputs)
    steps: list[Step] = []
    for run in cluster(graph, lambda node: not has_rule(node)):
        if has_rule(run[0]):
            steps.append(partial(emit_node, run[0], emitter))
            continue
        island = Island.around(run, kept)
        if island.outputs:  # imported here, so that a refusal comes before anything is built
            imported = island.to_relax(emitter.isa.tvm_target)
            steps.append(partial(emitter.island, island, imported))
    module = emitter.module(outputs, steps)
    if not any(isinstance(function, PrimFunc) for function in module.functions.values()):
        raise CompileError(
            "it computes nothing: its outputs are its inputs",
            where="model",
            hint="there is nothing to compile",
        )
    return module


def outputs_of(graph: ir.Graph, *, every_value: bool) -> list[ir.Value]:
    """Return what a library gives out: the graph outputs, and then every other value."""
    outputs = list(graph.outputs)
    if every_value:
        produced = [value for node in graph for value in node.outputs if value.name]
        outputs += [value for value in produced if value not in outputs]
    return outputs
