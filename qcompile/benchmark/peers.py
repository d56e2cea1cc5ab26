"""The peers of `bench`: other runtimes on the artifact's QDQ graph, and on the float model.

The QDQ graph has no 8-bit step between a convolution and the residual Add that follows, since
our kernels add to the accumulator. onnxruntime runs a convolution in integers only between
such steps, so the peers get a copy of the graph with the step put in.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import onnx_ir as ir

from qcompile.artifact import graph_bytes
from qcompile.errors import CompileError
from qcompile.graphs.sum_steps import with_sum_steps
from qcompile.target import Arrays
from qcompile.validation.reference import open_session

INT8 = "int8: the artifact's QDQ graph, with an 8-bit step before each residual Add"
FLOAT32 = "float32: the reference model"


class Open(Protocol):
    """Makes a peer ready for one model."""

    def __call__(
        self, model: Path | bytes, threads: int, inputs: Arrays, /
    ) -> Callable[[], Any]:
        """Return what runs the model once on these inputs."""
        ...


@dataclasses.dataclass(frozen=True)
class Peer:
    """Another runtime.

    Attributes:
        package: The package that it comes from.
        open: Makes it ready for one model.
    """

    package: str
    open: Open

    def version(self) -> str:
        """Return the version that is installed.

        Raises:
            CompileError: None is.
        """
        try:
            return importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError as error:
            raise CompileError(
                f"{self.package} is not installed",
                where="--against",
                hint=f"pip install {self.package}",
            ) from error

    def prepare(
        self, qdq_graph: ir.Model, reference: Path | None, threads: int, inputs: Arrays
    ) -> Mapping[str, Callable[[], Any]]:
        """Return what runs each model: the QDQ graph, and the float one where it is given."""
        self.version()
        stepped = graph_bytes(with_sum_steps(qdq_graph))
        runs = {INT8: self.open(stepped, threads, inputs)}
        if reference is not None:
            runs[FLOAT32] = self.open(reference, threads, inputs)
        return runs


def open_onnxruntime(model: Path | bytes, threads: int, inputs: Arrays) -> Callable[[], Any]:
    """Return a run of onnxruntime, set up as its documentation advises for latency.

    Its threads may spin while a run lasts, which makes it faster, and stop when it ends: they
    would otherwise take the cores from the candidate that is measured next.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = open_session(model, where="onnxruntime", options=options)
    feed = dict(inputs)
    return lambda: session.run(None, feed)


def open_openvino(model: Path | bytes, threads: int, inputs: Arrays) -> Callable[[], Any]:
    """Return a run of OpenVINO, one request at a time, for latency."""
    import openvino

    core = openvino.Core()
    try:
        read = core.read_model(model)
        compiled = core.compile_model(
            read,
            "CPU",
            {
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": 1,
                "PERFORMANCE_HINT": "LATENCY",
            },
        )
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise CompileError(f"openvino cannot run it: {reason}", where="--against") from error
    request = compiled.create_infer_request()
    feed = dict(inputs)
    return lambda: request.infer(feed)


PEERS = {
    "onnxruntime": Peer("onnxruntime", open_onnxruntime),
    "openvino": Peer("openvino", open_openvino),
}
