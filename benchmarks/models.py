"""The models that are measured: where each comes from, and what it is fed with."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from efficientnet_lite0 import efficientnet_lite0
from packages import CACHE
from pictures import cifar10, cifar_like, imagenet, imagenet_like
from qcompile.errors import CompileError
from qcompile.files import write_atomic
from resnet8 import resnet8, resnet8_qdq

Floats = npt.NDArray[np.float32]
Sample = dict[str, npt.NDArray[np.generic]]

SAMPLES = Path(__file__).parents[1] / "samples"
FASHION_MNIST = SAMPLES / "fashion_mnist"


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkModel:
    """A model with one input of floats, whose first axis is the batch.

    Attributes:
        name: What the scripts call it.
        assemble: Makes the ONNX model; None where `stored` is its file.
        stored: A file of the repository.
        calibration: Gives calibration inputs; None for a model that comes quantized.
        tests: Gives inputs that calibration has not seen.
    """

    name: str
    assemble: Callable[[], onnx.ModelProto] | None = None
    stored: Path | None = None
    calibration: Callable[[], Floats] | None
    tests: Callable[[], Floats]

    def path(self, *, again: bool = False) -> Path:
        """Return the ONNX file, made if it is not there yet, or again if asked.

        Raises:
            CompileError: It cannot be fetched, or a package that reads it is missing.
        """
        if self.stored is not None:
            return self.stored
        path = CACHE / f"{self.name}.onnx"
        if again or not path.is_file():
            CACHE.mkdir(exist_ok=True)
            write_atomic(path, self._assembled())
        return path

    def _assembled(self) -> bytes:
        assert self.assemble is not None, self.name
        try:
            model = self.assemble()
        except ModuleNotFoundError as error:
            raise CompileError(
                f"{error.name} is not installed",
                where=self.name,
                hint="pip install 'qcompile[bench]'",
            ) from error
        return bytes(model.SerializeToString(deterministic=True))

    def calibration_samples(self) -> list[Sample] | None:
        """Return the calibration inputs as samples, None for a quantized model."""
        return None if self.calibration is None else samples(self.calibration())

    def test_samples(self, count: int) -> list[Sample]:
        """Return that many test inputs as samples, from the first on, around if need be."""
        inputs = self.tests()
        return samples(inputs[np.arange(count) % len(inputs)])


def samples(inputs: Floats) -> list[Sample]:
    """Return each input with a batch axis of 1, under the name that all models here have."""
    return [{"input": row[None]} for row in inputs]


def fashion_mnist(part: str) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Return `calibration` or `test` of the sample, as its model takes it, and the labels."""
    with np.load(FASHION_MNIST / f"{part}.npz") as arrays:
        pixels = arrays["input"].astype(np.float64) / 255
        return ((pixels - 0.286) / 0.353).astype(np.float32), arrays["label"]


MODELS: Mapping[str, BenchmarkModel] = {
    model.name: model
    for model in (
        BenchmarkModel(
            name="fmnist_resnet",
            stored=FASHION_MNIST / "model.onnx",
            calibration=lambda: fashion_mnist("calibration")[0],
            tests=lambda: fashion_mnist("test")[0],
        ),
        BenchmarkModel(
            name="resnet8",
            assemble=resnet8,
            calibration=lambda: cifar_like(128),
            tests=lambda: cifar10()[0],
        ),
        BenchmarkModel(
            name="resnet8_qdq",
            assemble=resnet8_qdq,
            calibration=None,
            tests=lambda: cifar10()[0],
        ),
        BenchmarkModel(
            name="efficientnet_lite0",
            assemble=efficientnet_lite0,
            calibration=lambda: imagenet_like(32),
            tests=lambda: imagenet()[0],
        ),
    )
}
"""By name; a new benchmark is a new row."""


def named(name: str) -> BenchmarkModel:
    """Return the model of that name, for argparse."""
    if name not in MODELS:
        raise argparse.ArgumentTypeError(f"unknown {name!r}; there are: {', '.join(MODELS)}")
    return MODELS[name]


def add_models(parser: argparse.ArgumentParser) -> None:
    """Let a script take models by name; all where none is given."""
    parser.add_argument(
        "models",
        nargs="*",
        metavar="MODEL",
        type=named,
        default=list(MODELS.values()),
        help=", ".join(MODELS),
    )
