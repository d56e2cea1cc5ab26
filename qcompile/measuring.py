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

    def close(self) -> None:
        """Forget the library; it is not run again."""
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
    return _Measuring(target, device, threads)


class _Measuring:
    """Measures libraries; the last one stays loaded, since it is often measured again."""

    def __init__(self, target: Target, device: Device | None, threads: int) -> None:
        self._target = target
        self._device = device
        self._threads = threads
        self._library = b""
        self._runner: Timed | None = None

    def __call__(
        self, library: bytes, model: ir.Model, runs: int, /
    ) -> npt.NDArray[np.float64]:
        with using(self._threads):
            if self._runner is None or library is not self._library:
                if self._runner is not None:
                    self._runner.close()
                self._runner, self._library = self._load(library, model), library
            return self._runner.measure({}, runs)

    def _load(self, library: bytes, model: ir.Model) -> Timed:
        if self._device is not None:
            return timed(self._device.load(self._target, library, model), self._target)
        with tempfile.TemporaryDirectory(prefix="qcompile-") as folder:
            path = Path(folder) / "library.so"
            path.write_bytes(library)
            return timed(self._target.lowering.load(path, model), self._target)
