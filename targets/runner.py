"""Run a built library in this process, with arrays in the graph's shapes."""

from __future__ import annotations

import _ctypes
import ctypes
import statistics
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from qcompile.errors import CompileError
from qcompile.tensors import Tensor
from qcompile.threads import chosen, said

if TYPE_CHECKING:
    from qcompile.target import Arrays

Pointers = ctypes.Array[ctypes.c_void_p]


class LibraryRunner:
    """Calls the library's `model_run`; inputs are read and outputs written where they lie.

    The activations lie in one arena of the library, so runs from several threads take turns.
    """

    def __init__(
        self, library: Path, inputs: Sequence[Tensor], outputs: Sequence[Tensor]
    ) -> None:
        code = self._code = ctypes.CDLL(str(library))
        self._run, self._threads = code.model_run, code.model_threads
        self._run.restype = self._threads.restype = None
        self._inputs, self._outputs = tuple(inputs), tuple(outputs)
        self._from = (ctypes.c_void_p * len(inputs))()
        self._to = (ctypes.c_void_p * len(outputs))()
        self._said = said()
        self._lock = threading.Lock()

    def __call__(self, inputs: Arrays, /) -> dict[str, npt.NDArray[np.generic]]:
        """Run once and return the outputs by name."""
        given, answers = self._given(inputs), self._answers()
        with self._lock:
            for place, array in enumerate(given):
                self._from[place] = address(array)
            for place, array in enumerate(answers.values()):
                self._to[place] = address(array)
            self._threads(chosen(self._said))
            self._run(self._from, self._to)
        return answers

    def bind(
        self,
        inputs: Sequence[npt.NDArray[np.generic]],
        outputs: Sequence[npt.NDArray[np.generic]],
    ) -> Callable[[], None]:
        """Return a function that runs once on these very arrays, with nothing around it.

        Args:
            inputs: One of each input's type and shape, contiguous; read where they lie.
            outputs: One of each output's, contiguous and writable; written where they lie.

        Raises:
            ValueError: An array is none of those.
        """
        for each, array in zip(
            (*self._inputs, *self._outputs), (*inputs, *outputs), strict=True
        ):
            fits = (array.dtype, array.shape) == (each.dtype, each.shape)
            if not fits or not array.flags.c_contiguous:
                raise ValueError(f"{each.name!r} is {each}, contiguous")
        if not all(array.flags.writeable for array in outputs):
            raise ValueError("an output is not writable")
        given, answers = addresses(inputs), addresses(outputs)
        kept = (*inputs, *outputs)  # the addresses hold only as long as the arrays

        def run() -> None:
            assert kept
            with self._lock:
                self._threads(chosen(self._said))
                self._run(given, answers)

        return run

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
            self._threads(chosen(self._said))
            self._run(*pointers)
            for row in seconds:
                timed(*pointers, ctypes.c_void_p(row.ctypes.data))
        return seconds

    def close(self) -> None:
        """Unload the library, unless it has threads that wait for work."""
        if chosen(self._said) == 1:
            _ctypes.dlclose(self._code._handle)

    def _given(self, inputs: Arrays) -> list[npt.NDArray[np.generic]]:
        return [np.ascontiguousarray(inputs[each.name], each.dtype) for each in self._inputs]

    def _answers(self) -> dict[str, npt.NDArray[np.generic]]:
        return {each.name: np.empty(each.shape, each.dtype) for each in self._outputs}


def addresses(arrays: Sequence[npt.NDArray[np.generic]]) -> Pointers:
    """Return the arrays' addresses as C takes them."""
    return (ctypes.c_void_p * len(arrays))(*map(address, arrays))


_first: Callable[[Any], ctypes.c_char] = ctypes.c_char.from_buffer
_place = ctypes.addressof


def address(array: npt.NDArray[np.generic]) -> int:
    """Return where a contiguous array lies."""
    try:
        return _place(_first(array))  # a fifth of the time that array.ctypes takes
    except (TypeError, ValueError, BufferError):  # read-only, empty, no type of C
        return array.ctypes.data
