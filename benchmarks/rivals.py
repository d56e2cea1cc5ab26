"""The models that other runtimes are measured with, made as their own tools make them.

Each is made once and stays in the cache, until the float model is assembled again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
import onnx.version_converter

from benchmark_model import BenchmarkModel, Sample
from onnx_graph import OPSET
from packages import CACHE
from qcompile.errors import CompileError
from qcompile.files import write_atomic

OWN_INT8 = "it comes quantized"


def onnxruntime_int8(model: BenchmarkModel, *, signed: bool = False) -> Path:
    """Return the model as onnxruntime's static quantization leaves it; made once.

    QDQ, activations uint8, weights int8 per channel, min-max: what its documentation advises
    for a CPU with VNNI, on its own preprocessing, with our calibration inputs. A model that
    comes quantized is returned as it is.

    Args:
        model: What to quantize.
        signed: Activations int8 instead, as TFLite has them.
    """
    calibration = model.calibration_samples()
    if calibration is None:
        return model.path()

    def make(folder: Path) -> bytes:
        from onnxruntime import quantization

        made = folder / "int8.onnx"
        quantization.quantize_static(
            str(_prepared(model.path(), folder)),
            str(made),
            _reader(calibration),
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=getattr(quantization.QuantType, "QInt8" if signed else "QUInt8"),
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
        )
        return made.read_bytes()

    return _cached(model, f"onnxruntime-{'s8' if signed else 'int8'}.onnx", make)


def onnxruntime_dynamic(model: BenchmarkModel) -> Path:
    """Return the model as onnxruntime's dynamic quantization leaves it, per channel."""

    def make(folder: Path) -> bytes:
        from onnxruntime import quantization

        made = folder / "int8.onnx"
        quantization.quantize_dynamic(
            str(_prepared(model.path(), folder)),
            str(made),
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
        )
        return made.read_bytes()

    return _cached(model, "onnxruntime-dynamic.onnx", make)


def nncf_int8(model: BenchmarkModel) -> Path:
    """Return the model as NNCF's post-training quantization leaves it, in OpenVINO's format.

    Raises:
        CompileError: The model comes quantized, or NNCF is not installed.
    """
    calibration = model.calibration_samples()
    if calibration is None:
        raise CompileError(OWN_INT8, where=model.name)
    weights = CACHE / f"{model.name}.nncf-int8.bin"

    def make(folder: Path) -> bytes:
        import nncf
        import openvino

        quantized = nncf.quantize(
            openvino.Core().read_model(str(model.path())),
            nncf.Dataset(calibration),
            model_type=nncf.ModelType.TRANSFORMER if model.transformer else None,
        )
        openvino.save_model(quantized, folder / "int8.xml", compress_to_fp16=False)
        write_atomic(weights, (folder / "int8.bin").read_bytes())
        return (folder / "int8.xml").read_bytes()

    return _cached(model, "nncf-int8.xml", make)


def litert_int8(model: BenchmarkModel) -> Path:
    """Return an int8 TFLite file: the published one, or what `quantize_static` leaves.

    Raises:
        CompileError: The model comes quantized, or has something that is not converted.
    """
    published = model.tflite
    if model.calibration is None:
        raise CompileError(OWN_INT8, where=model.name)

    def make(folder: Path) -> bytes:
        from qdq_to_tflite import qdq_to_tflite

        if published is not None:
            return published()
        try:
            return qdq_to_tflite(onnx.load(onnxruntime_int8(model, signed=True)))
        except (KeyError, ValueError) as error:
            raise CompileError(f"no conversion: {error}", where=model.name) from error

    return _cached(model, "litert-int8.tflite", make)


def _cached(model: BenchmarkModel, ending: str, make: Callable[[Path], bytes]) -> Path:
    """Return the file of that ending, made where there is none or an older float model's."""
    path = CACHE / f"{model.name}.{ending}"
    if path.is_file() and path.stat().st_mtime >= model.path().stat().st_mtime:
        return path
    with tempfile.TemporaryDirectory(prefix="qcompile-") as folder, _quiet():
        write_atomic(path, make(Path(folder)))
    return path


def _prepared(source: Path, folder: Path) -> Path:
    """Return the model in a current opset, after onnxruntime's preprocessing."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    current, prepared = folder / "current.onnx", folder / "prepared.onnx"
    onnx.save(in_current_opset(onnx.load(source)), current)
    quant_pre_process(str(current), str(prepared), skip_symbolic_shape=True)
    return prepared


def in_current_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model in opset 17 or later: scales per channel came with 13."""
    (opset,) = (each.version for each in model.opset_import if each.domain == "")
    if opset >= OPSET:
        return model
    return onnx.version_converter.convert_version(model, OPSET)


def _reader(calibration: list[Sample]) -> Any:
    """Return the samples as onnxruntime's quantizer wants to read them."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """Gives one sample after the other, then None."""

        def __init__(self) -> None:
            self._samples: Iterator[Sample] = iter(calibration)

        def get_next(self) -> Sample | None:
            return next(self._samples, None)

    return Reader()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the quantizers' advice and progress bars out of the benchmark's output."""
    logging.disable(logging.WARNING)
    try:
        with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):
            yield
    finally:
        logging.disable(logging.NOTSET)
