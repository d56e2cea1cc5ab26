"""The golden run: what the oracle says, and that the built library says the same."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qcompile import oracle
from qcompile.artifact import LIBRARY, Golden
from qcompile.errors import CompileError
from qcompile.host import host_arch, host_features
from qcompile.report import is_float
from qcompile.target import Arrays, Target
from qcompile.threads import using
from qcompile.validation.deviation import Deviation

Array = npt.NDArray[np.generic]

LEAST_DB = 20.0
"""Noise of a tenth of the signal; an 8-bit step that a last float bit flips is below 40 dB."""

ALL_FLOAT_DB = 40.0
"""The same where nothing is 8 bits: float32's roundings bring no hundredth."""

MOST_FLIPS = 0.5
"""Share of flipped integers above which the answer is no longer the same one."""


def golden_run(target: Target, model: ir.Model, library: bytes, inputs: Arrays) -> Golden:
    """Run the oracle on the inputs; where this machine can, hold the library against it.

    A library for another machine is not run. Where float islands stand, whose last bits are
    nobody's promise, an output is wrong that lies as far off as no rounding brings it.

    Raises:
        CompileError: An output is not the oracle's.
    """
    expected = oracle.run(model, inputs)
    if runs_here(target):
        islands = [node for node in model.graph if is_float(node)]
        least = ALL_FLOAT_DB if len(islands) == len(model.graph) else LEAST_DB
        got = run_once(target, model, library, inputs)
        for name, array in expected.items():
            if not islands and not np.array_equal(
                got[name], array, equal_nan=array.dtype.kind == "f"
            ):
                raise _refusal("its kernels do not give the oracle's integers", name)
            if islands and far_off(array, got[name], least):
                names = ", ".join(sorted({node.op_type for node in islands}))
                raise _refusal(f"a float kernel answers wrong, one of {names}", name)
    return Golden(dict(inputs), expected)


def far_off(expected: Array, got: Array, least_db: float) -> bool:
    """Whether an answer behind float nodes is another one: noise near or above the signal.

    Integers and truth values may flip where a float lies at a border: only if most do, they
    are wrong.
    """
    if expected.dtype.kind != "f":
        return bool(np.mean(expected != got) > MOST_FLIPS) if expected.size else False
    deviation = Deviation()
    deviation.add(expected, got)
    return deviation.sqnr_db < least_db


def _refusal(problem: str, output: str) -> CompileError:
    return CompileError(
        problem, where=f"output {output!r}", hint="please report this with the model"
    )


def runs_here(target: Target) -> bool:
    """Whether this machine has what the target's code needs."""
    return target.arch == host_arch() and set(target.features) <= host_features()


def run_once(target: Target, model: ir.Model, library: bytes, inputs: Arrays) -> Arrays:
    """Run a library on one thread."""
    with tempfile.TemporaryDirectory(prefix="qcompile-") as folder, using(1):
        path = Path(folder) / LIBRARY
        path.write_bytes(library)
        return target.lowering.load(path, model)(inputs)
