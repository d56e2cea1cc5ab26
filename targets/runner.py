"""Run a built library through the Relax virtual machine, with arrays in the graph's shapes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import tvm
from tvm import relax

from qcompile.target import Arrays

ENTRY = "main"


class RelaxRunner:
    """Calls the library's entry; its buffers are flat, its tensors are kept between runs."""

    def __init__(
        self, library: Path, inputs: Sequence[ir.Value], outputs: Sequence[ir.Value]
    ) -> None:
        self._device = tvm.cpu()
        module = tvm.runtime.load_module(str(library))
        self._call = relax.VirtualMachine(module, self._device)[ENTRY]
        self._inputs = [
            (str(value.name), empty_tensor(value, self._device)) for value in inputs
        ]
        self._outputs = [(str(value.name), shape_of(value)) for value in outputs]

    def __call__(self, inputs: Arrays, /) -> dict[str, npt.NDArray[np.generic]]:
        """Run once and return the outputs by name."""
        for name, tensor in self._inputs:
            tensor.copyfrom(np.ascontiguousarray(inputs[name]).reshape(-1))
        result = self._call(*(tensor for _, tensor in self._inputs))
        tensors = [result] if len(self._outputs) == 1 else result
        return {
            name: tensor.numpy().reshape(shape)
            for (name, shape), tensor in zip(self._outputs, tensors, strict=True)
        }


def empty_tensor(value: ir.Value, device: Any) -> Any:
    """Return a flat device tensor that holds this value."""
    assert value.dtype is not None
    return tvm.runtime.empty(
        (math.prod(shape_of(value)),), value.dtype.numpy().name, device=device
    )


def shape_of(value: ir.Value) -> tuple[int, ...]:
    """Return the static shape of a value; lowering starts only where all are known."""
    assert value.shape is not None, value.name
    return tuple(int(size) for size in value.shape.numpy())
