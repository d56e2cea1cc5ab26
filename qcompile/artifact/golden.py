"""The golden run of an artifact: arrays named "input:NAME" and "output:NAME" in an .npz."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import onnx_ir as ir

from qcompile.data.npz import npz_bytes
from qcompile.target import Arrays


@dataclasses.dataclass(frozen=True)
class Golden:
    """One run of the artifact on the machine that compiled it."""

    inputs: Arrays
    outputs: Arrays


def golden_bytes(golden: Golden) -> bytes:
    """Return the .npz of a run."""
    arrays = {f"input:{name}": array for name, array in golden.inputs.items()}
    arrays |= {f"output:{name}": array for name, array in golden.outputs.items()}
    return npz_bytes(arrays)


def read_golden(data: bytes, graph: ir.Graph) -> Golden:
    """Return the run that an .npz holds.

    Raises:
        ValueError: It is not of that graph. What else is wrong, NumPy and zipfile say in
            errors of their own.
    """
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    golden = Golden(_with_prefix(arrays, "input:"), _with_prefix(arrays, "output:"))
    for run, values in ((golden.inputs, graph.inputs), (golden.outputs, graph.outputs)):
        if run.keys() != {value.name for value in values}:
            raise ValueError("its names are not those of the graph")
    return golden


def _with_prefix(arrays: Arrays, prefix: str) -> Arrays:
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }
