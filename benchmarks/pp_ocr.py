"""PP-OCRv4 of PaddleOCR: finds text on a page, reads a line, tells which way up it is.

Inputs are prepared as the package does it: channels blue, green, red, (x/255 - 0.5) / 0.5;
lines are 48 high, in their own proportions, with zeros to the right of them.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import onnx
from PIL import Image

from benchmark_model import Floats, Sample
from packages import Package
from text_pictures import Line, lines, pages

PACKAGE = Package(
    "rapidocr-onnxruntime",
    "1.4.4",
    "971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf",
)
FOLDER = "rapidocr_onnxruntime/models"
DETECT = "ch_PP-OCRv4_det_infer.onnx"
READ = "ch_PP-OCRv4_rec_infer.onnx"
TURN = "ch_ppocr_mobile_v2.0_cls_infer.onnx"

DETECT_SHAPE = (1, 3, 640, 640)
READ_SHAPE = (1, 3, 48, 320)
TURN_SHAPE = (1, 3, 48, 192)
READ_LENGTH, TURN_LENGTH = 16, 10
"""Characters of a line: about as many as fit the width without being squeezed."""

TEST_SEED, CALIBRATION_SEED = 0, 1


def published(file: str) -> onnx.ModelProto:
    """Return a model of the package."""
    return onnx.load_from_string(PACKAGE.read(f"{FOLDER}/{file}"))


@functools.cache
def characters() -> list[str]:
    """Return the character of each class of the reader: first none, last the space."""
    (text,) = (
        each.value for each in published(READ).metadata_props if each.key == "character"
    )
    return ["", *text.splitlines(), " "]


def read_lines(count: int, *, seed: int = TEST_SEED) -> list[Line]:
    """Return lines for the reader."""
    return lines(count, seed=seed, longest=READ_LENGTH)


def turn_lines(count: int, *, seed: int = TEST_SEED) -> list[Line]:
    """Return lines for the classifier; every second is upside down."""
    upright = lines(count, seed=seed, longest=TURN_LENGTH)
    return [
        Line(line.text, line.picture.rotate(180)) if index % 2 else line
        for index, line in enumerate(upright)
    ]


def read_samples(count: int, *, seed: int = TEST_SEED) -> list[Sample]:
    """Return the reader's inputs."""
    return [line_input(line.picture, READ_SHAPE) for line in read_lines(count, seed=seed)]


def turn_samples(count: int, *, seed: int = TEST_SEED) -> list[Sample]:
    """Return the classifier's inputs."""
    return [line_input(line.picture, TURN_SHAPE) for line in turn_lines(count, seed=seed)]


def page_samples(count: int, *, seed: int = TEST_SEED) -> list[Sample]:
    """Return the detector's inputs."""
    return [{"x": _normalized(page)[None]} for page in pages(count, seed=seed)]


def line_input(picture: Image.Image, shape: tuple[int, ...]) -> Sample:
    """Return a line as the models take it: `x` of that shape."""
    *_, height, width = shape
    fitting = min(math.ceil(height * picture.width / picture.height), width)
    resized = picture.resize((fitting, height), Image.Resampling.BILINEAR)
    x = np.zeros(shape, np.float32)
    x[..., :fitting] = _normalized(resized)
    return {"x": x}


def _normalized(picture: Image.Image) -> Floats:
    pixels = np.asarray(picture, np.float32)[..., ::-1].transpose(2, 0, 1)
    return np.asarray((pixels / 255 - 0.5) / 0.5, np.float32)
