"""Run a built library on a device, over TVM's RPC."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import tvm

from qcompile.target import Arrays
from qcompile.targets.lowering import outputs_of
from qcompile.tensors import Tensor
from qcompile.threads import current

if TYPE_CHECKING:
    from qcompile.targets.devices.remote import RemoteDevice

RUN, THREADS = "model_run", "model_threads"
CALLS, PROFILE = "model_calls", "model_profile"
"""The library's functions over RPC (see qcompile/targets/native/remote.c)."""

SHARE = 0.25
"""Share of a call's time limit that one call with several runs is planned for."""


class RemoteRunner:
    """A loaded library on a device; its tensors are kept there between runs."""

    def __init__(
        self, device: RemoteDevice, library: Any, model: ir.Model, *, every_value: bool
    ) -> None:
        self._device = device
        self._library = library
        inputs = map(Tensor.of, model.graph.inputs)
        outputs = map(Tensor.of, outputs_of(model.graph, every_value=every_value))
        self._inputs = [(each.name, empty_tensor(each, device.cpu)) for each in inputs]
        self._outputs = [
            (each.name, each.shape, empty_tensor(each, device.cpu)) for each in outputs
        ]
        self._tensors = [
            *(tensor for _, tensor in self._inputs),
            *(tensor for _, _, tensor in self._outputs),
        ]

    def __call__(self, inputs: Arrays, /) -> dict[str, npt.NDArray[np.generic]]:
        """Run once and return the outputs by name."""
        with self._device.explained("run"):
            self._set(inputs)
            self._library[RUN](*self._tensors)
            return {
                name: tensor.numpy().reshape(shape) for name, shape, tensor in self._outputs
            }

    def seconds(self, inputs: Arrays, runs: int, threads: int) -> list[float]:
        """Return the seconds of each run, taken on the device."""
        with self._device.explained("run"):
            self._set(inputs)
            self._library[THREADS](threads)
            start = time.perf_counter()
            self._library[RUN](*self._tensors)
            once = time.perf_counter() - start
        at_once = max(1, int(SHARE * self._device.timeout / max(once, 1e-6)))
        times: list[float] = []
        while len(times) < runs:
            repeat = min(at_once, runs - len(times))
            with self._device.explained("measure"):
                timer = self._library.time_evaluator(
                    RUN, self._device.cpu, number=1, repeat=repeat
                )
                times += [float(each) for each in timer(*self._tensors).results]
        return times

    def measure(self, inputs: Arrays, runs: int) -> npt.NDArray[np.float64]:
        """Return the seconds [run, kernel call] of so many runs, taken on the device."""
        with self._device.explained("profile"):
            self._set(inputs)
            self._library[THREADS](current())
            calls = int(self._library[CALLS]())
            seconds = tvm.runtime.empty((calls,), "float64", device=self._device.cpu)
            self._library[RUN](*self._tensors)
            rows = []
            for _ in range(runs):
                self._library[PROFILE](*self._tensors, seconds)
                rows.append(seconds.numpy())
        return np.array(rows)

    def close(self) -> None:
        """Let the device forget the library."""
        self._device.forget(self._library)

    def _set(self, inputs: Arrays) -> None:
        for name, tensor in self._inputs:
            tensor.copyfrom(np.ascontiguousarray(inputs[name]).reshape(-1))


def empty_tensor(tensor: Tensor, device: Any) -> Any:
    """Return a flat tensor on the device that holds this one's numbers."""
    return tvm.runtime.empty((tensor.elements,), tensor.dtype.name, device=device)
