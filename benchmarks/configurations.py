"""What a benchmark model is measured in: our artifact, and every rival's model and options."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from benchmark_model import BenchmarkModel
from ours import compiled
from rivals import litert_int8, nncf_int8, onnxruntime_dynamic, onnxruntime_int8

OURS = "qcompile int8"
BOUND = f"{OURS}, bound"
"""Ours without the checks and the new arrays of `CompiledModel.run`."""

FLOAT_PRECISIONS = ("f32", "bf16")


@dataclasses.dataclass(frozen=True)
class Configuration:
    """One runtime with one model.

    Attributes:
        name: What tables call it.
        runtime: A key of `runtimes.RUNTIMES`.
        make: Makes the model's file, or finds it in the cache.
        option: Of the runtime.
        variables: Of its environment.
    """

    name: str
    runtime: str
    make: Callable[[], Path]
    option: str = ""
    variables: Mapping[str, str] = dataclasses.field(default_factory=dict, hash=False)


ONEDNN_LIMITS = {"x86-avx2": "AVX2", "x86-avxvnni": "AVX2_VNNI"}
"""What keeps OpenVINO to a target's instruction set; the others cannot be kept to one."""


def is_int8(name: str) -> bool:
    """Whether a configuration of that name computes in 8 bits."""
    return "int8" in name


def configurations(model: BenchmarkModel, target: str) -> Iterator[Configuration]:
    """Give ours first, then every rival's that may use what the target has, and no more."""
    if target not in ONEDNN_LIMITS:
        yield from _unlimited(model, target)
        return
    limit = {"ONEDNN_MAX_CPU_ISA": ONEDNN_LIMITS[target]}
    for each in _unlimited(model, target):
        if each.runtime == "openvino":
            yield dataclasses.replace(each, variables=limit)
        elif each.name.startswith(OURS):
            yield each


def _unlimited(model: BenchmarkModel, target: str) -> Iterator[Configuration]:
    artifact = partial(compiled, model, target)
    yield Configuration(OURS, "qcompile", artifact)
    yield Configuration(BOUND, "qcompile, bound", artifact)
    qdq = partial(onnxruntime_int8, model)
    yield Configuration("onnxruntime int8", "onnxruntime", qdq)
    yield Configuration("openvino int8, same QDQ", "openvino", qdq)
    if model.calibration is None:
        return
    if model.transformer:
        dynamic = partial(onnxruntime_dynamic, model)
        yield Configuration("onnxruntime int8, dynamic", "onnxruntime", dynamic)
    yield Configuration("openvino int8, NNCF", "openvino", partial(nncf_int8, model))
    yield Configuration("litert int8", "litert", partial(litert_int8, model))
    yield Configuration("onnxruntime float", "onnxruntime", model.path)
    yield Configuration("openvino float", "openvino", model.path)
    for precision in FLOAT_PRECISIONS:
        name = f"openvino float, {precision}"
        yield Configuration(name, "openvino", model.path, precision)
