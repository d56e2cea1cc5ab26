"""Open a model in one of the runtimes, each with the options that make it fastest.

Inputs and outputs are bound beforehand where a runtime can: nothing is copied or allocated
around a run that need not be. Nothing but NumPy and the runtime that is measured is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

Inputs = Mapping[str, Any]
Run = Callable[[], Any]
Open = Callable[[Path, int, Inputs, str], Run]

CHANNELS_LAST = (0, 2, 3, 1)


class UnavailableError(Exception):
    """A configuration that means nothing on this machine; says why."""


def open_qcompile(model: Path, threads: int, inputs: Inputs, option: str) -> Run:
    """Return a run of an artifact that checks its inputs and makes new arrays every time."""
    import qcompile

    session = qcompile.Session(model)
    return lambda: session.run(inputs)


def open_bound(model: Path, threads: int, inputs: Inputs, option: str) -> Run:
    """Return a run of an artifact with arrays bound beforehand, as the rivals' are."""
    import qcompile

    session = qcompile.Session(model)
    outputs = {each.name: np.empty(each.shape, each.dtype) for each in session.outputs}
    return session.bind(inputs, outputs)


def open_onnxruntime(model: Path, threads: int, inputs: Inputs, option: str) -> Run:
    """Return a run of onnxruntime; its threads may spin, they are alone in the process."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "1")
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        str(model), options, providers=["CPUExecutionProvider"]
    )
    binding = session.io_binding()
    for name, array in inputs.items():
        binding.bind_cpu_input(name, np.ascontiguousarray(array))
    names = [output.name for output in session.get_outputs()]
    for name in names:
        binding.bind_output(name)
    session.run_with_iobinding(binding)
    for name, value in zip(names, binding.get_outputs(), strict=True):
        binding.bind_ortvalue_output(name, value)
    return lambda: session.run_with_iobinding(binding)


def open_openvino(model: Path, threads: int, inputs: Inputs, option: str) -> Run:
    """Return a run of OpenVINO.

    Args:
        model: ONNX or OpenVINO's own format.
        threads: How many it may use.
        inputs: By name.
        option: The precision that floats are computed in; empty for its default.

    Raises:
        UnavailableError: The CPU lacks that precision, or it is the default.
    """
    import openvino

    core = openvino.Core()
    config: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
    }
    if option:
        _check_precision(core, option)
        config["INFERENCE_PRECISION_HINT"] = option
    compiled = core.compile_model(core.read_model(str(model)), "CPU", config)
    request = compiled.create_infer_request()
    for name, array in inputs.items():
        request.set_tensor(name, openvino.Tensor(np.ascontiguousarray(array)))
    return lambda: request.infer(share_outputs=True)


def _check_precision(core: Any, precision: str) -> None:
    short = {"f32": "FP32", "bf16": "BF16"}[precision]
    if short not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise UnavailableError(f"OpenVINO has no {precision} on this CPU")
    if core.get_property("CPU", "INFERENCE_PRECISION_HINT").to_string() == precision:
        raise UnavailableError(f"{precision} is the default here: see openvino float")


def open_litert(model: Path, threads: int, inputs: Inputs, option: str) -> Run:
    """Return a run of LiteRT with XNNPACK, which it uses unless told otherwise."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(model), num_threads=threads)
    (place,), (array,) = interpreter.get_input_details(), inputs.values()
    if tuple(place["shape"][1:]) != array.shape[1:]:
        array = array.transpose(CHANNELS_LAST)
    interpreter.resize_tensor_input(place["index"], array.shape)
    interpreter.allocate_tensors()
    if place["dtype"] != array.dtype:
        scale, zero_point = place["quantization"]
        limits = np.iinfo(place["dtype"])
        array = np.clip(np.rint(array / scale) + zero_point, limits.min, limits.max)
    array = np.ascontiguousarray(array, place["dtype"])
    interpreter.set_tensor(place["index"], array)
    run: Run = interpreter.invoke
    return run


def open_nothing(model: Path, threads: int, inputs: Inputs, option: str) -> Run:
    """Return a run of nothing: what Python, NumPy and the inputs take."""
    return lambda: None


RUNTIMES: Mapping[str, Open] = {
    "qcompile": open_qcompile,
    "qcompile, bound": open_bound,
    "onnxruntime": open_onnxruntime,
    "openvino": open_openvino,
    "litert": open_litert,
    "nothing": open_nothing,
}
