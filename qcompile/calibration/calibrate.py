"""One pass over the data: the float model runs, and every observed value is counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qcompile.calibration.calibrators import Observation
from qcompile.data.dataset import Dataset
from qcompile.errors import CompileError
from qcompile.target import Arrays
from qcompile.validation.reference import open_session

Array = npt.NDArray[np.generic]


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
    inputs = {value.name for value in observed.graph.inputs}
    outputs = {value.name for value in observed.graph.outputs}
    unknown = sorted(set(values) - inputs - outputs)
    if unknown:
        raise ValueError(f"not observed: {', '.join(map(repr, unknown))}")
    wanted = sorted(set(values) - inputs)
    run = _Runner(observed, wanted)
    observations = {name: Observation() for name in values}
    seen = 0
    for batch, valid in _with_bar(samples, progress):
        arrays = {**batch, **run(batch)}
        for name, observation in observations.items():
            array = _without_filling(arrays[name], valid, samples.batch)
            try:
                observation.add(array, valid)
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


class _Runner:
    """The observed model in onnxruntime; a value that is not asked for is not computed."""

    def __init__(self, model: ir.Model, names: Sequence[str]) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        # Rewrites beyond the basic ones would reorder sums that the observers see.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        ir.external_data.load_to_model(model)
        content = ir.to_proto(model).SerializeToString()
        self._session = open_session(content, where="calibration", options=options)
        self._names = list(names)

    def __call__(self, inputs: Arrays) -> dict[str, Array]:
        """Run once and return the values by name."""
        if not self._names:
            return {}
        try:
            arrays = self._session.run(self._names, dict(inputs))
        except Exception as error:  # onnxruntime has no common base class of its own
            reason = str(error).splitlines()[0]
            raise CompileError(
                f"onnxruntime cannot run it: {reason}", where="calibration"
            ) from error
        return dict(zip(self._names, arrays, strict=True))


def _with_bar(samples: Dataset, progress: bool) -> Iterator[tuple[dict[str, Array], int]]:
    """Give the batches, and a bar that counts samples."""
    from tqdm import tqdm

    # None: no bar where stderr is not a terminal.
    hidden = None if progress else True
    with tqdm(total=samples.count, desc="calibrate", unit="sample", disable=hidden) as bar:
        for batch, valid in samples.batches():
            yield batch, valid
            bar.update(valid)


def _without_filling(array: Array, valid: int, batch: int | None) -> Array:
    """Leave out what a run was filled up with, where the first axis tells it apart."""
    if batch is None or valid == batch or array.shape[:1] != (batch,):
        return array
    return array[:valid]


def _which(seen: int, valid: int) -> str:
    return f"sample {seen}" if valid == 1 else f"samples {seen} to {seen + valid - 1}"


def _where(model: ir.Model, name: str) -> str:
    """Name a value, and the node that gives it."""
    output = next((value for value in model.graph.outputs if value.name == name), None)
    producer = output.producer() if output is not None else None
    return f"value {name!r}" + (
        f" of {producer.op_type} {producer.name!r}" if producer else ""
    )
