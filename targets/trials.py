"""Libraries of kernels that no model asked for, built only to be timed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qcompile.bundle import memory
from qcompile.bundle.c_source import Source
from qcompile.targets.build import build_library
from qcompile.targets.emitter import Emitter, Template, plain_layout
from qcompile.targets.isa import Isa
from qcompile.targets.program import make_program

OPSET = 21


@dataclasses.dataclass(frozen=True)
class Trial:
    """One kernel call to be timed.

    Attributes:
        template: The kernel.
        arguments: What it reads; equal arrays lie in one place.
        size: Elements of its output.
        dtype: Of its output.
    """

    template: Template
    arguments: Sequence[npt.NDArray[np.generic]]
    size: int
    dtype: ir.DataType


def build_trials(isa: Isa, trials: Sequence[Trial]) -> tuple[bytes, ir.Model]:
    """Return a library that calls the kernels in order, and the model that it runs as.

    The model takes nothing and gives what the last call writes; `model_profile` of the library
    gives the seconds of each call.
    """
    last = trials[-1]
    output = ir.Value(
        name="y", type=ir.TensorType(last.dtype), shape=ir.Shape([max(1, last.size)])
    )
    graph = ir.Graph([], [output], nodes=[], opset_imports={"": OPSET}, name="trials")
    emitter = Emitter(graph, isa)
    buffers: list[Any] = []

    def emit() -> None:
        for trial in trials:
            buffers.append(
                emitter.call(
                    trial.template, trial.arguments, size=trial.size, dtype=trial.dtype
                )
            )
        emitter.define(output, buffers[-1], plain_layout(output))

    module = emitter.module([output], [emit])
    program = make_program(module, isa.tvm_target, emitter.kernels)
    source = Source(
        target=isa.name,
        inputs=(),
        outputs=(output,),
        program=program,
        arena=memory.plan(program),
    )
    library = build_library(source, isa.tvm_target["mtriple"])
    return library, ir.Model(graph, ir_version=10)
