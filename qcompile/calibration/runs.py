"""Run a float model over the data once, and give the values that are to be observed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qcompile.data.dataset import Dataset
from qcompile.errors import CompileError
from qcompile.target import Arrays
from qcompile.validation.reference import open_session

Array = npt.NDArray[np.generic]


def observed_runs(
    observed: ir.Model, samples: Dataset, values: Sequence[str], *, progress: bool = False
) -> Iterator[tuple[dict[str, Array], int]]:
    """Give the values of each run by name, and of how many samples they are.

    Args:
        observed: The float model, the values among its outputs (passes.InsertObservers).
        samples: The data; each sample is read once.
        values: Names of outputs or inputs of the model.
        progress: Show a bar on stderr, if that is a terminal.

    Raises:
        CompileError: onnxruntime cannot run the model, or there is no sample.
        ValueError: A name that is neither an input nor an output.
    """
    inputs = {value.name for value in observed.graph.inputs}
    outputs = {value.name for value in observed.graph.outputs}
    unknown = sorted(set(values) - inputs - outputs)
    if unknown:
        raise ValueError(f"not observed: {', '.join(map(repr, unknown))}")
    run = ModelRunner(observed, sorted(set(values) - inputs))
    for batch, valid in _with_bar(samples, progress):
        arrays = {**batch, **run(batch)}
        yield (
            {name: _without_filling(arrays[name], valid, samples.batch) for name in values},
            valid,
        )


class ModelRunner:
    """A model in onnxruntime; a value that is not asked for is not computed."""

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
