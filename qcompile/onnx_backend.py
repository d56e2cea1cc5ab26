"""The float path as an `onnx.backend.base.Backend`, for tests that speak that interface."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx.backend.base import Backend, BackendRep
from onnx.backend.test.runner import BackendIsNotSupposedToImplementIt

from qcompile.compiler import compile_model
from qcompile.config import CompileConfig
from qcompile.data.run_inputs import check_inputs
from qcompile.errors import CompileError
from qcompile.model import CompiledModel
from qcompile.target import Runner
from qcompile.tensors import Tensor

Array = npt.NDArray[np.generic]

FLOAT = CompileConfig(recipe="float")

PARAMETERS: Mapping[str, tuple[int, ...]] = {
    "AffineGrid": (1,),
    "BlackmanWindow": (0,),
    "CenterCropPad": (1,),
    "Col2Im": (1, 2),
    "ConstantOfShape": (0,),
    "CumProd": (1,),
    "CumSum": (1,),
    "DFT": (1, 2),
    "Dropout": (1, 2),
    "Expand": (1,),
    "GRU": (4,),
    "HammingWindow": (0,),
    "HannWindow": (0,),
    "LSTM": (4,),
    "MaxUnpool": (2,),
    "MelWeightMatrix": (0, 1, 2, 3, 4),
    "NonMaxSuppression": (2, 3, 4),
    "OneHot": (1, 2),
    "Pad": (1, 2, 3),
    "RNN": (4,),
    "Range": (0, 1, 2),
    "ReduceL1": (1,),
    "ReduceL2": (1,),
    "ReduceLogSum": (1,),
    "ReduceLogSumExp": (1,),
    "ReduceMax": (1,),
    "ReduceMean": (1,),
    "ReduceMin": (1,),
    "ReduceProd": (1,),
    "ReduceSum": (1,),
    "ReduceSumSquare": (1,),
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "STFT": (1, 3),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "SplitToSequence": (1,),
    "Squeeze": (1,),
    "Tile": (1,),
    "TopK": (1,),
    "Trilu": (1,),
    "Unsqueeze": (1,),
    "Upsample": (1,),
}
"""Inputs, by operator, that say what is computed: a shape, axes, sizes, a mode.

A compiled model has them as constants. Where a test hands them over as inputs, the model is
compiled for the values it is run with, as `--shape` fixes a size that a model leaves open.
"""


class QcompileBackend(Backend):
    """Compiles for this machine with the recipe "float"."""

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **_: Any) -> Compiled:
        """Return the model, compiled unless its parameters are inputs.

        Raises:
            BackendIsNotSupposedToImplementIt: The compiler refuses it; says why.
        """
        rep = Compiled(model)
        if not parameters(model.graph):
            rep.compiled({})
        return rep

    @classmethod
    def run_model(
        cls, model: onnx.ModelProto, inputs: Any, device: str = "CPU", **_: Any
    ) -> tuple[Any, ...]:
        """Compile and run once; errors are those of `prepare`."""
        return cls.prepare(model, device).run(inputs)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether it runs on the device: only on the CPU."""
        return device == "CPU"


class Compiled(BackendRep):
    """A model and what was compiled from it, once for all values of its parameters."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        self._ready: dict[str, Ready] = {}

    def compiled(self, constants: Mapping[str, Array]) -> Ready:
        """Return the model compiled with these inputs as constants.

        Raises:
            BackendIsNotSupposedToImplementIt: The compiler refuses it; says why.
        """
        key = _digest(constants)
        if key not in self._ready:
            try:
                model = compile_model(
                    with_constants(self._model, constants), "native", config=FLOAT
                )
                self._ready[key] = Ready(model, model.load_library(model.library))
            except CompileError as error:
                raise BackendIsNotSupposedToImplementIt(str(error)) from error
        return self._ready[key]

    def run(self, inputs: Sequence[Array] | Mapping[str, Array], **_: Any) -> tuple[Any, ...]:
        """Return the outputs, in the model's order."""
        stored = {tensor.name for tensor in self._model.graph.initializer}
        names = [value.name for value in self._model.graph.input if value.name not in stored]
        given = (
            dict(inputs)
            if isinstance(inputs, Mapping)
            else dict(zip(names, inputs, strict=False))
        )
        fixed = parameters(self._model.graph)
        given = {
            name: np.asarray(item) if isinstance(item, np.generic) else item
            for name, item in given.items()
        }
        constants = {name: array for name, array in given.items() if name in fixed}
        ready = self.compiled(constants)
        return ready.run({name: given[name] for name in given if name not in constants})


@dataclasses.dataclass(frozen=True)
class Ready:
    """A compiled model and its loaded library."""

    model: CompiledModel
    runner: Runner

    def run(self, arrays: Mapping[str, Array]) -> tuple[Any, ...]:
        """Run once; unlike `CompiledModel.run` this takes NaN and infinity."""
        finite = {
            name: np.zeros_like(array) if isinstance(array, np.ndarray) else array
            for name, array in arrays.items()
        }
        try:
            check_inputs(list(map(Tensor.of, self.model.inputs)), finite)
        except CompileError as error:
            raise BackendIsNotSupposedToImplementIt(str(error)) from error
        outputs = self.runner(arrays)
        return tuple(outputs[name] for name in self.model.output_names)


def parameters(graph: onnx.GraphProto) -> set[str]:
    """Return the graph inputs that are read as parameters only."""
    stored = {tensor.name for tensor in graph.initializer}
    names = {value.name for value in graph.input if value.name not in stored}
    as_parameter: set[str] = set()
    as_data: set[str] = set()
    for node in graph.node:
        for index, name in enumerate(node.input):
            fixed = node.domain in ("", "ai.onnx") and index in PARAMETERS.get(
                node.op_type, ()
            )
            (as_parameter if fixed else as_data).add(name)
    return names & (as_parameter - as_data)


def with_constants(model: onnx.ModelProto, constants: Mapping[str, Array]) -> onnx.ModelProto:
    """Return a copy of the model in which these inputs are initializers."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    kept = [value for value in copy.graph.input if value.name not in constants]
    del copy.graph.input[:]
    copy.graph.input.extend(kept)
    for name, array in constants.items():
        copy.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array), name))
    return copy


def _digest(arrays: Mapping[str, Array]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        digest.update(f"{name} {array.dtype} {array.shape} ".encode() + array.tobytes())
    return digest.hexdigest()
