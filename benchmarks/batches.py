"""A benchmark model with every shape fixed, for as many inputs at once as are asked for."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import numpy_helper

from benchmark_model import BenchmarkModel, Floats, Sample, Samples, fix_shapes
from qcompile.errors import CompileError

SAME = 1e-2
"""How far a picture's outputs in a batch may be from those alone, as a share of the largest
output: float32 sums in another order differ by less, another picture's outputs by far more."""


def batched(model: BenchmarkModel, batch: int) -> BenchmarkModel:
    """Return the model for so many inputs at once; samples are stacked.

    Runtimes plan better where nothing is open, so one input at once is fixed too.
    """
    calibration = model.calibration
    return dataclasses.replace(
        model,
        name=f"{model.name}.b{batch}",
        stored=None,
        shapes={},
        assemble=functools.partial(_fixed, model, batch),
        calibration=None if calibration is None else lambda: stacked(calibration(), batch),
        tests=lambda: [stack(model.test_samples(batch))],
    )


def stacked(samples: Samples, batch: int) -> Samples:
    """Return samples of so many inputs each; what does not fill one is left out."""
    starts = range(0, len(samples) - batch + 1, batch)
    return [stack(samples[start : start + batch]) for start in starts]


def stack(samples: Sequence[Sample]) -> Sample:
    """Return one sample of them all."""
    return {name: np.concatenate([each[name] for each in samples]) for name in samples[0]}


def _fixed(model: BenchmarkModel, batch: int) -> onnx.ModelProto:
    """Return the model with its inputs' first axis fixed.

    Where reshapes have one input written down, they are opened: the model is exported again,
    as it were. The weights stay as they are.

    Raises:
        CompileError: It computes something else for more than one input, or nothing at all.
    """
    fixed = onnx.load(model.path())
    if batch > 1:
        open_reshapes(fixed.graph)
    samples = model.test_samples(batch)
    fix_shapes(
        fixed.graph,
        {name: (batch, *array.shape[1:]) for name, array in samples[0].items()},
    )
    for value in fixed.graph.output:
        value.type.tensor_type.ClearField("shape")
    (outputs,) = _runs(fixed.SerializeToString(), [stack(samples)], model.name)
    if batch > 1:
        _check_batch(
            model.name, outputs, _runs(model.path().read_bytes(), samples, model.name)
        )
    for value, output in zip(fixed.graph.output, outputs, strict=True):
        for size in output.shape:
            value.type.tensor_type.shape.dim.add(dim_value=size)
    return onnx.shape_inference.infer_shapes(fixed)


def open_reshapes(graph: onnx.GraphProto) -> None:
    """Let reshapes to a shape that begins with 1 keep the first axis as it comes."""
    constants = {each.name: each for each in graph.initializer}
    for node in graph.node:
        if node.op_type != "Reshape" or node.input[0] in constants:
            continue
        stored = constants.get(node.input[1])
        if stored is None or (shape := numpy_helper.to_array(stored)).size < 2:
            continue
        if shape[0] == 1:
            name = f"{node.name}.{stored.name}.open"
            opened = np.concatenate([[0], shape[1:]]).astype(np.int64)
            graph.initializer.append(numpy_helper.from_array(opened, name))
            node.input[1] = name


def _runs(model: bytes, samples: Samples, name: str) -> list[list[Floats]]:
    """Return the outputs for each sample, by onnxruntime."""
    from qcompile.validation.reference import open_session

    try:
        session = open_session(model, where=name)
        return [session.run(None, sample) for sample in samples]
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise CompileError(f"it does not run with this batch: {reason}", where=name) from error


def _check_batch(
    name: str, together: Sequence[Floats], alone: Sequence[Sequence[Floats]]
) -> None:
    """Refuse a model whose inputs do not each come out of a batch as they do alone."""
    for index, got in enumerate(together):
        expected = np.concatenate([each[index] for each in alone])
        if got.shape != expected.shape:
            raise CompileError(
                f"the published model takes one input at once: {len(alone)} give {got.shape}",
                where=name,
            )
        largest = float(np.abs(expected).max())
        if float(np.abs(got - expected).max()) > SAME * largest:
            raise CompileError("a batch gives other outputs than its inputs alone", where=name)
