"""Run a built library in this process, with arrays in the graph's shapes."""

from __future__ import annotations

import _ctypes
import ctypes
import math
import statistics
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qcompile.errors import CompileError
from qcompile.target import Arrays
from qcompile.threads import current

Pointers = ctypes.Array[ctypes.c_void_p]


class LibraryRunner:
    """Calls the library's `model_run`; inputs are read and outputs written where they lie.

    The activations lie in one arena of the library, so runs from several threads take turns.
    """

    def __init__(
        self, library: Path, inputs: Sequence[ir.Value], outputs: Sequence[ir.Value]
    ) -> None:
        code = self._code = ctypes.CDLL(str(library))
        self._run, self._threads = code.model_run, code.model_threads
        self._run.restype = self._threads.restype = None
        self._inputs = [(str(value.name), dtype_of(value)) for value in inputs]
        self._outputs = [
            (str(value.name), shape_of(value), dtype_of(value)) for value in outputs
        ]
        self._lock = threading.Lock()

    def __call__(self, inputs: Arrays, /) -> dict[str, npt.NDArray[np.generic]]:
        """Run once and return the outputs by name."""
        given, answers = self._given(inputs), self._answers()
        pointers = addresses(given), addresses(list(answers.values()))
        with self._lock:
            self._threads(current())
            self._run(*pointers)
        return answers

    def profile(self, inputs: Arrays, runs: int) -> list[float]:
        """Return the seconds of each kernel call, in order: the median of so many runs.

        Errors are those of `measure`.
        """
        return [statistics.median(times) for times in self.measure(inputs, runs).T.tolist()]

    def measure(self, inputs: Arrays, runs: int) -> npt.NDArray[np.float64]:
        """Return the seconds [run, kernel call] of so many runs.

        Raises:
            CompileError: The library is of a version that does not time its kernels.
        """
        try:
            count = ctypes.c_int.in_dll(self._code, "model_calls").value
            timed = self._code.model_profile
        except (ValueError, AttributeError) as error:
            raise CompileError(
                "it was built by a version that does not time its kernels",
                where="profile",
                hint="compile the model again",
            ) from error
        timed.restype = None
        given, answers = self._given(inputs), self._answers()
        pointers = addresses(given), addresses(list(answers.values()))
        seconds = np.zeros((runs, count))
        with self._lock:
            self._threads(current())
            self._run(*pointers)
            for row in seconds:
                timed(*pointers, ctypes.c_void_p(row.ctypes.data))
        return seconds

    def close(self) -> None:
        """Unload the library, unless it has threads that wait for work."""
        if current() == 1:
            _ctypes.dlclose(self._code._handle)

    def _given(self, inputs: Arrays) -> list[npt.NDArray[np.generic]]:
        return [np.ascontiguousarray(inputs[name], dtype) for name, dtype in self._inputs]

    def _answers(self) -> dict[str, npt.NDArray[np.generic]]:
        return {name: np.empty(shape, dtype) for name, shape, dtype in self._outputs}


def addresses(arrays: Sequence[npt.NDArray[np.generic]]) -> Pointers:
    """Return the arrays' addresses as C takes them."""
    return (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))


def dtype_of(value: ir.Value) -> np.dtype[np.generic]:
    """Return the NumPy type of a value."""
    assert value.dtype is not None, value.name
    return value.dtype.numpy()


def shape_of(value: ir.Value) -> tuple[int, ...]:
    """Return the static shape of a value; lowering starts only where all are known."""
    assert value.shape is not None, value.name
    return tuple(int(size) for size in value.shape.numpy())


def elements_of(value: ir.Value) -> int:
    """Return how many numbers a value holds."""
    return math.prod(shape_of(value))
