"""The models that other runtimes are measured with, made as their own tools make them."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import onnx.version_converter

from benchmark_model import BenchmarkModel, Sample
from onnx_graph import OPSET
from packages import CACHE
from qcompile.files import write_atomic

PER_CHANNEL_OPSET = 13


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
    path = CACHE / f"{model.name}.onnxruntime-{'s8' if signed else 'int8'}.onnx"
    if not path.is_file():
        with tempfile.TemporaryDirectory(prefix="qcompile-") as folder, _quiet():
            made = _quantize_static(model.path(), calibration, Path(folder), signed=signed)
            write_atomic(path, made.read_bytes())
    return path


def _quantize_static(
    source: Path, calibration: list[Sample], folder: Path, *, signed: bool
) -> Path:
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    current, prepared, made = (
        folder / name for name in ("current.onnx", "prepared.onnx", "int8.onnx")
    )
    onnx.save(in_current_opset(onnx.load(source)), current)
    quant_pre_process(str(current), str(prepared), skip_symbolic_shape=True)
    quantization.quantize_static(
        str(prepared),
        str(made),
        _reader(calibration),
        quant_format=quantization.QuantFormat.QDQ,
        activation_type=getattr(quantization.QuantType, "QInt8" if signed else "QUInt8"),
        weight_type=quantization.QuantType.QInt8,
        per_channel=True,
    )
    return made


def in_current_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model in an opset that has scales per channel, which older ones lack."""
    (opset,) = (each.version for each in model.opset_import if each.domain == "")
    if opset >= PER_CHANNEL_OPSET:
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
    """Keep the quantizer's advice on standard error out of the benchmark's output."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
