"""Lower an integer graph to a library through TVM, and load it again."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

import onnx_ir as ir

from qcompile.target import Built, Runner
from qcompile.targets.build import build_library
from qcompile.targets.emitter import Emitter
from qcompile.targets.isa import Isa
from qcompile.targets.islands import cluster, refuse_control_flow
from qcompile.targets.rules import emit_node, has_rule
from qcompile.targets.runner import RelaxRunner


@dataclasses.dataclass(frozen=True)
class TvmLowering:
    """Kernels from templates for one instruction set, float islands from TVM's importer."""

    isa: Isa

    def build(self, model: ir.Model, *, every_value: bool = False) -> Built:
        """Compile the integer graph; see `qcompile.target.Lowering`."""
        graph = model.graph
        refuse_control_flow(graph)
        emitter = Emitter(graph, self.isa)
        outputs = outputs_of(graph, every_value=every_value)
        kept = frozenset(outputs)
        steps = [
            partial(emit_node, run[0], emitter)
            if has_rule(run[0])
            else partial(emitter.island, run, kept)
            for run in cluster(graph, lambda node: not has_rule(node))
        ]
        library = build_library(emitter.module(outputs, steps), self.isa.tvm_target)
        return Built(library, tuple(emitter.kernels))

    def load(self, library: Path, model: ir.Model, *, every_value: bool = False) -> Runner:
        """Load a built library; see `qcompile.target.Lowering`."""
        outputs = outputs_of(model.graph, every_value=every_value)
        return RelaxRunner(library, model.graph.inputs, outputs)


def outputs_of(graph: ir.Graph, *, every_value: bool) -> list[ir.Value]:
    """Return what a library gives out: the graph outputs, and then every other value."""
    outputs = list(graph.outputs)
    if every_value:
        produced = [value for node in graph for value in node.outputs if value.name]
        outputs += [value for value in produced if value not in outputs]
    return outputs
