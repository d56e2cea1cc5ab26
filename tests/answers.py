"""Run a model before and after a pass with onnxruntime, and compare the answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import onnx
import onnx.shape_inference
import onnx_ir as ir
import onnxruntime

from tests.graphs import graph

Array = npt.NDArray[np.generic]

UNIT = 2.0**-24
"""The unit roundoff of float32."""


def run(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> list[Array]:
    """Return the model's answers, every node computed as it stands."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return [np.asarray(y) for y in session.run(None, dict(feeds))]


def random_feeds(model: onnx.ModelProto, seed: int = 0) -> dict[str, Array]:
    """Return normal numbers of three times the usual spread for every float input."""
    noise = np.random.default_rng(seed)
    feeds: dict[str, Array] = {}
    for value in model.graph.input:
        shape = [int(size.dim_value) for size in value.type.tensor_type.shape.dim]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        feeds[value.name] = np.asarray(noise.normal(size=shape) * 3).astype(dtype)
    return feeds


def assert_same_answers(
    text: ir.Model, change: Callable[[ir.Model], object], *, roundings: int, seed: int = 0
) -> None:
    """Assert that a change, made in place, leaves the answers as they were.

    Args:
        text: The model.
        change: The pass.
        roundings: How many roundings of a term differ between the two; each is at most u
            times the largest magnitude that occurs, for which the largest answer stands.
        seed: Of the inputs.
    """
    before = ir.to_proto(text)
    feeds = random_feeds(before, seed)
    expected = run(before, feeds)
    change(text)
    after = ir.to_proto(text)
    onnx.checker.check_model(after, full_check=True)
    for got, wanted in zip(run(after, feeds), expected, strict=True):
        assert got.shape == wanted.shape
        if wanted.dtype.kind != "f" or roundings == 0:
            np.testing.assert_array_equal(got, wanted)
            continue
        bound = roundings * UNIT * max(1.0, float(np.abs(wanted).max(initial=0)))
        difference = np.abs(got.astype(np.float64) - wanted.astype(np.float64))
        assert difference.max(initial=0) <= bound


def inferred(text: str) -> ir.Model:
    """Parse a graph in ONNX text syntax and write the shape of every value that has one."""
    proto = onnx.shape_inference.infer_shapes(ir.to_proto(graph(text)), data_prop=True)
    return ir.from_proto(proto)
