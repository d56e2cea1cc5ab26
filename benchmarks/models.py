"""The models that are measured: where each comes from, and what it is fed with."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

import pp_ocr
from benchmark_model import BenchmarkModel, Floats, samples
from byte_classifier import byte_classifier, calibration_files, test_files
from captcha_detector import CALIBRATION_SEED, captcha_detector, captcha_samples
from efficientnet_lite0 import efficientnet_lite0
from light import NETWORKS as LIGHT_NETWORKS
from light import light, light_samples
from minilm import INPUTS, minilm, text_samples
from mobilenet_v2 import mobilenet_v2
from open_nsfw import nsfw_samples, open_nsfw
from pictures import cifar10, cifar_like, imagenet, imagenet_like, imagenet_photos, pieces
from resnet8 import resnet8, resnet8_qdq, resnet8_tflite
from resnet50 import resnet50
from silero_vad import CALIBRATION as CALIBRATION_SPEECH
from silero_vad import SHAPES as SPEECH_SHAPES
from silero_vad import TESTS as TEST_SPEECH
from silero_vad import silero_vad, speech_samples
from texts import calibration_texts, test_texts
from vit_s import SHAPES as VIT_SHAPES
from vit_s import vit_s, vit_samples

SAMPLES = Path(__file__).parents[1] / "samples"
FASHION_MNIST = SAMPLES / "fashion_mnist"


def fashion_mnist(part: str) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Return `calibration` or `test` of the sample, as its model takes it, and the labels."""
    with np.load(FASHION_MNIST / f"{part}.npz") as arrays:
        pixels = arrays["input"].astype(np.float64) / 255
        return ((pixels - 0.286) / 0.353).astype(np.float32), arrays["label"]


def rows() -> Iterator[BenchmarkModel]:
    """Give every model; a new benchmark is a new row."""
    yield BenchmarkModel(
        name="fmnist_resnet",
        stored=FASHION_MNIST / "model.onnx",
        calibration=lambda: samples(fashion_mnist("calibration")[0]),
        tests=lambda: samples(fashion_mnist("test")[0]),
    )
    yield BenchmarkModel(
        name="resnet8",
        assemble=resnet8,
        tflite=resnet8_tflite,
        calibration=lambda: samples(cifar_like(128)),
        tests=lambda: samples(cifar10()[0]),
    )
    yield BenchmarkModel(
        name="resnet8_qdq",
        assemble=resnet8_qdq,
        calibration=None,
        tests=lambda: samples(cifar10()[0]),
    )
    for name, assemble in (
        ("efficientnet_lite0", efficientnet_lite0),
        ("resnet50", resnet50),
        ("mobilenet_v2", mobilenet_v2),
    ):
        yield BenchmarkModel(
            name=name,
            assemble=assemble,
            calibration=lambda: samples(imagenet_like(32)),
            tests=lambda: samples(imagenet()[0]),
        )
    yield BenchmarkModel(
        name="open_nsfw",
        assemble=open_nsfw,
        calibration=lambda: nsfw_samples(pieces(32)),
        tests=lambda: nsfw_samples(imagenet_photos()),
    )
    yield BenchmarkModel(
        name="vit_s",
        assemble=vit_s,
        transformer=True,
        shapes=VIT_SHAPES,
        calibration=lambda: vit_samples(pieces(32)),
        tests=lambda: vit_samples(imagenet_photos()),
    )
    yield BenchmarkModel(
        name="ddddocr_det",
        assemble=captcha_detector,
        calibration=lambda: captcha_samples(16, seed=CALIBRATION_SEED),
        tests=lambda: captcha_samples(20),
    )
    yield from pp_ocr_rows()
    yield from minilm_rows()
    yield BenchmarkModel(
        name="byte_classifier",
        assemble=byte_classifier,
        calibration=lambda: calibration_files(64),
        tests=lambda: test_files(50),
    )
    yield BenchmarkModel(
        name="silero_vad",
        assemble=silero_vad,
        shapes=SPEECH_SHAPES,
        calibration=lambda: speech_samples(CALIBRATION_SPEECH),
        tests=lambda: speech_samples(TEST_SPEECH),
    )
    for network in LIGHT_NETWORKS:
        yield BenchmarkModel(
            name=f"light_{network}",
            assemble=partial(light, network),
            calibration=partial(light_samples, network, 4),
            tests=partial(light_samples, network, 2),
            compile_only=True,
        )


def pp_ocr_rows() -> Iterator[BenchmarkModel]:
    """Give the three models of PP-OCR, at the sizes that its package runs them at."""
    for name, file, shape, inputs, count in (
        ("pp_ocr_det", pp_ocr.DETECT, pp_ocr.DETECT_SHAPE, pp_ocr.page_samples, 16),
        ("pp_ocr_rec", pp_ocr.READ, pp_ocr.READ_SHAPE, pp_ocr.read_samples, 64),
        ("pp_ocr_cls", pp_ocr.TURN, pp_ocr.TURN_SHAPE, pp_ocr.turn_samples, 64),
    ):
        yield BenchmarkModel(
            name=name,
            assemble=partial(pp_ocr.published, file),
            shapes={"x": shape},
            calibration=partial(inputs, count, seed=pp_ocr.CALIBRATION_SEED),
            tests=partial(inputs, 20),
        )


def minilm_rows() -> Iterator[BenchmarkModel]:
    """Give the sentence encoder at two lengths."""
    for length in (16, 128):
        yield BenchmarkModel(
            name=f"minilm_l6_{length}",
            assemble=minilm,
            transformer=True,
            shapes=dict.fromkeys(INPUTS, (1, length)),
            calibration=partial(text_samples, calibration_texts, length),
            tests=partial(text_samples, test_texts, length),
        )


MODELS: Mapping[str, BenchmarkModel] = {model.name: model for model in rows()}
"""By name."""


def named(name: str) -> BenchmarkModel:
    """Return the model of that name, for argparse."""
    if name not in MODELS:
        raise argparse.ArgumentTypeError(f"unknown {name!r}; there are: {', '.join(MODELS)}")
    return MODELS[name]


def add_models(parser: argparse.ArgumentParser) -> None:
    """Let a script take models by name; where none is given, all but the compile-only ones."""
    parser.add_argument(
        "models",
        nargs="*",
        metavar="MODEL",
        type=named,
        default=[model for model in MODELS.values() if not model.compile_only],
        help=", ".join(MODELS),
    )
