"""The manifest of an artifact: what was compiled, from what, with what, under which schemes.

No time, path or host name stands in it: compiling twice gives the same manifest.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import onnx_ir as ir

import qcompile
from qcompile import ops
from qcompile.artifact.sealed import FORMAT
from qcompile.report import RecipeReport
from qcompile.target import KernelInfo, Target
from qcompile.tuning_log import Record

TOOLCHAIN = ("apache-tvm", "numpy", "onnx", "onnx-ir", "onnxruntime")


class TensorScheme(TypedDict):
    """How one activation is stored: `real = scale * (integer - zero_point)`."""

    dtype: str
    scale: float
    zero_point: int


class WeightScheme(TypedDict):
    """How one weight is stored; every channel's own scale stands in qdq.onnx."""

    dtype: str
    axis: int | None
    channels: int
    scale_range: list[float]


class Manifest(TypedDict):
    """What manifest.json holds; `entries` (name: sha256) is filled when it is packed."""

    format: int
    qcompile: str
    target: str
    arch: str
    features: list[str]
    versions: dict[str, str]
    model_sha256: str
    reference_sha256: str
    calibration_sha256: str | None
    config: dict[str, Any]
    recipe: RecipeReport
    seeds: dict[str, int]
    tensors: dict[str, TensorScheme]
    weights: dict[str, WeightScheme]
    kernels: list[dict[str, Any]]
    tuning: list[dict[str, Any]]
    entries: dict[str, str]


def make_manifest(
    *,
    target: Target,
    model_sha256: str,
    calibration_sha256: str | None,
    config: Mapping[str, Any],
    recipe: RecipeReport,
    seeds: Mapping[str, int],
    integer_graph: ir.Model,
    qdq_graph: ir.Model,
    kernels: Sequence[KernelInfo],
    tuning: Sequence[Record] = (),
) -> Manifest:
    """Return the manifest of one compile.

    Args:
        target: What was compiled for.
        model_sha256: `reference.fingerprint` of the source model, which is the reference too.
        calibration_sha256: Of the samples that calibrated it; None where none did.
        config: The recipe, calibrator and overrides, as plain data.
        recipe: What came of it (see `recipes.py`).
        seeds: Every seed that a step used, by the step's name.
        integer_graph: Its values carry the schemes.
        qdq_graph: Its DequantizeLinear nodes carry the weights' scales.
        kernels: What the lowering built.
        tuning: The records of tuning logs that it followed.
    """
    return {
        "format": FORMAT,
        "qcompile": qcompile.__version__,
        "target": target.name,
        "arch": target.arch,
        "features": sorted(target.features),
        "versions": {name: importlib.metadata.version(name) for name in TOOLCHAIN},
        "model_sha256": model_sha256,
        "reference_sha256": model_sha256,
        "calibration_sha256": calibration_sha256,
        "config": dict(config),
        "recipe": recipe,
        "seeds": dict(seeds),
        "tensors": tensor_schemes(integer_graph.graph),
        "weights": weight_schemes(qdq_graph.graph),
        "kernels": [dataclasses.asdict(kernel) for kernel in kernels],
        "tuning": [record.to_json() for record in tuning],
        "entries": {},
    }


def tensor_schemes(graph: ir.Graph) -> dict[str, TensorScheme]:
    """Return the scheme of every activation of the integer graph that has one."""
    values = [*graph.inputs, *(value for node in graph for value in node.outputs)]
    return {
        str(value.name): {
            "dtype": value.dtype.name if value.dtype is not None else "UNDEFINED",
            "scale": float(value.metadata_props[ops.SCALE]),
            "zero_point": int(value.metadata_props[ops.ZERO_POINT]),
        }
        for value in values
        if ops.SCALE in value.metadata_props
    }


def weight_schemes(graph: ir.Graph) -> dict[str, WeightScheme]:
    """Return the scheme of every constant that the QDQ graph stores in integers."""
    schemes: dict[str, WeightScheme] = {}
    for node in graph:
        if node.op_type != "DequantizeLinear":
            continue
        stored, scale = node.inputs[:2]
        if stored is None or stored.const_value is None:
            continue
        if scale is None or scale.const_value is None:
            continue
        scales = scale.const_value.numpy()
        schemes[str(stored.name)] = {
            "dtype": stored.const_value.dtype.name,
            "axis": node.attributes.get_int("axis", 1) if scales.ndim else None,
            "channels": scales.size,
            "scale_range": [float(scales.min()), float(scales.max())],
        }
    return schemes
