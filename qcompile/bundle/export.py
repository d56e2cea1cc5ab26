"""Write a compiled model as a C bundle: a folder that a plain (cross-)compiler builds."""

from __future__ import annotations

import dataclasses
import importlib.resources
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qcompile.bundle import memory
from qcompile.bundle.c_source import Source
from qcompile.bundle.folder import check_replaceable, write_folder
from qcompile.bundle.golden_source import golden_header
from qcompile.bundle.manual import CMAKE, manual
from qcompile.bundle.program import AheadOfTime
from qcompile.errors import CompileError
from qcompile.report import is_float
from qcompile.validation.oracle_check import islands_feed_integers, tail_bound

if TYPE_CHECKING:
    from qcompile.model import CompiledModel

FLIPPED = 2.0**-5
"""Allowed error, relative to the largest value, where float kernels feed integer ones.

The last bit of such a float decides where a value between two 8-bit steps goes. One step is
2**-7 of the largest value or less; few values flip, and what they add up to stays within four.
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bundle:
    """What was written, and what it needs on the device.

    Attributes:
        target: Name of the target.
        files: Bytes of each file.
        arena_bytes: Of the memory for activations.
        weight_bytes: Of the constants.
    """

    target: str
    files: Mapping[str, int]
    arena_bytes: int
    weight_bytes: int


def export_c(model: CompiledModel, path: Path) -> Bundle:
    """Write the bundle; the same model gives the same files.

    Raises:
        CompileError: The target's kernels cannot be called from C, or the folder cannot be
            written or holds other files.
    """
    check_replaceable(path)
    source = make_source(model)
    files = bundle_files(model, source)
    write_folder(path, files)
    return Bundle(
        target=source.target,
        files={name: len(data) for name, data in files.items()},
        arena_bytes=source.arena.size,
        weight_bytes=source.weight_bytes,
    )


def make_source(model: CompiledModel) -> Source:
    """Compile the model's kernels and plan its memory."""
    lowering = model.lowering
    if not isinstance(lowering, AheadOfTime):
        raise CompileError(
            f"kernels for {model.target.name} cannot be called from C",
            where="--format c",
            hint="compile for a CPU: see `qcompile targets`",
        )
    graph = model.integer_graph.graph
    program = lowering.program(model.integer_graph)
    return Source(
        target=model.target.name,
        arch=model.target.arch,
        features=model.target.features,
        inputs=tuple(graph.inputs),
        outputs=tuple(graph.outputs),
        program=program,
        arena=memory.plan(program),
    )


def bundle_files(model: CompiledModel, source: Source) -> Mapping[str, bytes]:
    """Return the files of the bundle by name."""
    graph = model.integer_graph.graph
    names = [str(value.name) for value in graph.inputs]
    texts = {
        "model.h": source.header(),
        "model.c": source.model(),
        "weights.c": source.weights(),
        "golden.h": golden_header(model.golden, names, output_bounds(model)),
        "main.c": importlib.resources.files(__package__).joinpath("main.c").read_text(),
        "CMakeLists.txt": CMAKE,
        "README.txt": manual(model.target.name, model.target.arch),
    }
    files = {name: text.encode() for name, text in texts.items()}
    return {"kernels.o": source.program.object_code, **files}


def output_bounds(model: CompiledModel) -> dict[str, float]:
    """Return how far each output may lie from the oracle's: 0 without float islands."""
    graph = model.integer_graph.graph
    islands = sum(is_float(node) for node in graph)
    bounds = {}
    for name in model.output_names:
        expected = model.golden.outputs[name]
        bound = tail_bound(expected, islands)
        if islands and expected.dtype.kind == "f" and islands_feed_integers(graph):
            bound += FLIPPED * float(np.abs(expected).max(initial=0.0))
        bounds[name] = bound
    return bounds
