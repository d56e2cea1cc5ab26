"""The golden run: what the oracle says, and that the built library says the same."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx_ir as ir

from qcompile import oracle
from qcompile.artifact import LIBRARY, Golden
from qcompile.errors import CompileError
from qcompile.host import host_arch, host_features
from qcompile.report import is_float
from qcompile.target import Arrays, Target
from qcompile.threads import unsettled


def golden_run(target: Target, model: ir.Model, library: bytes, inputs: Arrays) -> Golden:
    """Run the oracle on the inputs; where this machine can, hold the library against it.

    A library for another machine is not run, nor one with float islands, whose last bits
    are nobody's promise.

    Raises:
        CompileError: An output is not the oracle's.
    """
    expected = oracle.run(model, inputs)
    islands = any(is_float(node) for node in model.graph)
    if runs_here(target) and not islands:
        got = run_once(target, model, library, inputs)
        for name, array in expected.items():
            if not np.array_equal(got[name], array, equal_nan=array.dtype.kind == "f"):
                raise CompileError(
                    "its kernels do not give the oracle's integers",
                    where=f"output {name!r}",
                    hint="please report this with the model",
                )
    return Golden(dict(inputs), expected)


def runs_here(target: Target) -> bool:
    """Whether this machine has what the target's code needs."""
    return target.arch == host_arch() and set(target.features) <= host_features()


def run_once(target: Target, model: ir.Model, library: bytes, inputs: Arrays) -> Arrays:
    """Run a library without settling how many threads later runs take."""
    with tempfile.TemporaryDirectory(prefix="qcompile-") as folder, unsettled():
        path = Path(folder) / LIBRARY
        path.write_bytes(library)
        return target.lowering.load(path, model)(inputs)
