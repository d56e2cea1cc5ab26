"""One pass over the data: the float model runs, and every observed value is counted."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from qcompile.calibration.calibrators import Observation
from qcompile.calibration.runs import observed_runs
from qcompile.data.dataset import Dataset
from qcompile.errors import CompileError


def calibrate(
    observed: ir.Model, samples: Dataset, values: Sequence[str], *, progress: bool = False
) -> dict[str, Observation]:
    """Return what was seen of each value.

    The memory is that of one run and of one histogram a value, however many samples there
    are, and each sample is read once: a generator will do.

    Args:
        observed: The float model, the values among its outputs (passes.InsertObservers).
        samples: The data.
        values: Names of outputs or inputs of the model, in the order they are computed.
        progress: Show a bar on stderr, if that is a terminal.

    Raises:
        CompileError: onnxruntime cannot run the model, a value is NaN or infinite, or there
            is no sample.
        ValueError: A name that is neither an input nor an output.
    """
    observations = {name: Observation() for name in values}
    seen = 0
    for arrays, valid in observed_runs(observed, samples, values, progress=progress):
        for name, observation in observations.items():
            try:
                observation.add(arrays[name], valid)
            except ValueError as error:
                raise CompileError(
                    f"{error}, in {_which(seen, valid)} of the calibration data",
                    where=_where(observed, name),
                    hint="the float model itself gives that: check the data's scale",
                ) from error
        seen += valid
    suspects = 0
    for observation in observations.values():
        observation.suspects = suspects
        outliers = observation.outliers
        suspects = max(suspects, outliers.samples if outliers is not None else 0)
    return observations


def _which(seen: int, valid: int) -> str:
    return f"sample {seen}" if valid == 1 else f"samples {seen} to {seen + valid - 1}"


def _where(model: ir.Model, name: str) -> str:
    """Name a value, and the node that gives it."""
    output = next((value for value in model.graph.outputs if value.name == name), None)
    producer = output.producer() if output is not None else None
    return f"value {name!r}" + (
        f" of {producer.op_type} {producer.name!r}" if producer else ""
    )
