"""A model that is measured: where its file comes from, and what it is fed with."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from packages import CACHE
from qcompile.errors import CompileError
from qcompile.files import write_atomic

Floats = npt.NDArray[np.float32]
Sample = dict[str, npt.NDArray[np.generic]]
Samples = Sequence[Sample]


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkModel:
    """A model with inputs of any number and type; a sample holds each under its name.

    Attributes:
        name: What the scripts call it.
        assemble: Makes the ONNX model; None where `stored` is its file.
        stored: A file of the repository.
        shapes: Of inputs that the published model leaves open, as `--shape` gives them. The
            file that every runtime is measured with has them fixed.
        calibration: Gives calibration inputs; None for a model that comes quantized.
        tests: Gives inputs that calibration has not seen.
        compile_only: Its weights mean nothing, and so do its outputs: it shows what can be
            compiled, and is not measured unless named.
        tflite: Gives the int8 TFLite file that its makers publish beside it, if they do.
        transformer: Attention makes most of it; quantizers and means know such apart.
    """

    name: str
    assemble: Callable[[], onnx.ModelProto] | None = None
    stored: Path | None = None
    shapes: Mapping[str, Sequence[int]] = dataclasses.field(default_factory=dict)
    calibration: Callable[[], Samples] | None
    tests: Callable[[], Samples]
    compile_only: bool = False
    tflite: Callable[[], bytes] | None = None
    transformer: bool = False

    def path(self, *, again: bool = False) -> Path:
        """Return the ONNX file, made if it is not there yet, or again if asked.

        Raises:
            CompileError: It cannot be fetched, or a package that reads it is missing.
        """
        if self.stored is not None:
            return self.stored
        path = CACHE / f"{self.name}.onnx"
        if again or not path.is_file():
            CACHE.mkdir(exist_ok=True)
            write_atomic(path, self._assembled())
        return path

    def _assembled(self) -> bytes:
        assert self.assemble is not None, self.name
        try:
            model = self.assemble()
        except ModuleNotFoundError as error:
            raise CompileError(
                f"{error.name} is not installed",
                where=self.name,
                hint="pip install 'qcompile[bench]'",
            ) from error
        if self.shapes:
            fix_shapes(model.graph, self.shapes)
        return bytes(model.SerializeToString(deterministic=True))

    def calibration_samples(self) -> list[Sample] | None:
        """Return the calibration inputs as samples, None for a quantized model."""
        return None if self.calibration is None else list(self.calibration())

    def test_samples(self, count: int) -> list[Sample]:
        """Return that many test inputs as samples, from the first on, around if need be."""
        inputs = self.tests()
        return [inputs[index % len(inputs)] for index in range(count)]


def samples(inputs: npt.NDArray[np.generic], name: str = "input") -> list[Sample]:
    """Return each row with a batch axis of 1 as the only input of a model."""
    return [{name: row[None]} for row in inputs]


def fix_shapes(graph: onnx.GraphProto, shapes: Mapping[str, Sequence[int]]) -> None:
    """Give inputs of a graph their shapes, and forget those that follow from them."""
    for value in graph.input:
        if value.name in shapes:
            tensor = value.type.tensor_type
            tensor.ClearField("shape")
            for size in shapes[value.name]:
                tensor.shape.dim.add(dim_value=size)
    del graph.value_info[:]
    for value in graph.output:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_value < 1:
                dim.Clear()
