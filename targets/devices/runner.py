"""Run a built library on a device through the Relax virtual machine there."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from tvm import relax

from qcompile.target import Arrays
from qcompile.targets.lowering import outputs_of
from qcompile.targets.runner import ENTRY, empty_tensor, shape_of

if TYPE_CHECKING:
    from qcompile.targets.devices.remote import RemoteDevice

SHARE = 0.25
"""Share of a call's time limit that one call with several runs is planned for."""


class RemoteRunner:
    """A loaded library on a device; its tensors are kept there between runs.

    Inputs are set and outputs fetched one by one: a tuple cannot come over RPC.
    """

    def __init__(
        self, device: RemoteDevice, library: Any, model: ir.Model, *, every_value: bool
    ) -> None:
        self._device = device
        self._machine = relax.VirtualMachine(library, device.cpu)
        self._inputs = [
            (str(value.name), empty_tensor(value, device.cpu)) for value in model.graph.inputs
        ]
        outputs = outputs_of(model.graph, every_value=every_value)
        self._outputs = [(str(value.name), shape_of(value)) for value in outputs]

    def __call__(self, inputs: Arrays, /) -> dict[str, npt.NDArray[np.generic]]:
        """Run once and return the outputs by name."""
        with self._device.explained("run"):
            self._set(inputs)
            self._machine.invoke_stateful(ENTRY)
            result = self._machine.get_outputs(ENTRY)
            tensors = [result] if len(self._outputs) == 1 else result
            return {
                name: tensor.numpy().reshape(shape)
                for (name, shape), tensor in zip(self._outputs, tensors, strict=True)
            }

    def seconds(self, inputs: Arrays, runs: int) -> list[float]:
        """Return the seconds of each run, taken on the device."""
        with self._device.explained("run"):
            self._set(inputs)
            start = time.perf_counter()
            self._machine.invoke_stateful(ENTRY)
            once = time.perf_counter() - start
        at_once = max(1, int(SHARE * self._device.timeout / max(once, 1e-6)))
        times: list[float] = []
        while len(times) < runs:
            repeat = min(at_once, runs - len(times))
            with self._device.explained("measure"):
                timer = self._machine.time_evaluator(
                    "invoke_stateful", self._device.cpu, number=1, repeat=repeat
                )
                times += [float(each) for each in timer(ENTRY).results]
        return times

    def _set(self, inputs: Arrays) -> None:
        for name, tensor in self._inputs:
            tensor.copyfrom(np.ascontiguousarray(inputs[name]).reshape(-1))
        self._machine.set_input(ENTRY, *(tensor for _, tensor in self._inputs))
