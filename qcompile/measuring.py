"""Run a library that times its own kernel calls, in this process or on a device."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qcompile.device import Device
from qcompile.errors import CompileError
from qcompile.host import host_arch, host_features
from qcompile.target import Arrays, Runner, Target
from qcompile.threads import using

Measure = Callable[[bytes, ir.Model, int], npt.NDArray[np.float64]]
"""(library, the model that it runs, runs) -> the seconds [run, kernel call] of each."""


@runtime_checkable
class Timed(Protocol):
    """A loaded library that times its kernel calls."""

    def measure(self, inputs: Arrays, runs: int, /) -> npt.NDArray[np.float64]:
        """Return the seconds [run, kernel call] of so many runs."""
        ...


def timed(runner: Runner, target: Target) -> Timed:
    """Return the runner.

    Raises:
        CompileError: It does not time its kernels.
    """
    if not isinstance(runner, Timed):
        raise CompileError(
            f"what is built for {target.name} does not time its kernels",
            where=f"target {target.name}",
            hint="compile for one of `qcompile targets`",
        )
    return runner


def measure_on(target: Target, device: Device | None, threads: int) -> Measure:
    """Return what measures libraries without inputs that were built for a target.

    Args:
        target: What they are built for.
        device: Where they run; None is this process.
        threads: Threads that their kernels may use.

    Raises:
        CompileError: This machine cannot run them, and there is no device.
    """
    runs_here = target.arch == host_arch() and set(target.features) <= host_features()
    if device is None and not runs_here:
        raise CompileError(
            f"kernels for {target.name} cannot be measured on this machine",
            where=f"target {target.name}",
            hint="measure on a device that has it: --device URL",
        )

    def measure(library: bytes, model: ir.Model, runs: int) -> npt.NDArray[np.float64]:
        with using(threads):
            if device is not None:
                return timed(device.load(target, library, model), target).measure({}, runs)
            with tempfile.TemporaryDirectory(prefix="qcompile-") as folder:
                path = Path(folder) / "library.so"
                path.write_bytes(library)
                runner = target.lowering.load(path, model)
            return timed(runner, target).measure({}, runs)

    return measure
