"""Measure what int8 costs in accuracy: `python benchmarks/accuracy.py [PART...]`.

fmnist: labelled pictures, int8 against float, with the interval of the difference.
resnet8: a foreign QDQ model compiled without calibration, against onnxruntime on its file.
efficientnet: 20 labelled photos for every calibrator, and once with weights per tensor.
The other parts are named for their model: PP-OCR finds, turns and reads rendered text, MiniLM
orders pairs of words, Silero hears speech; where there are no labels, outputs are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

import qcompile
from benchmark_model import Floats, samples
from measures.finding import finding
from measures.outputs import outputs
from measures.reading import reading
from measures.runs import Measure, Run
from measures.speech import speech
from measures.turning import turning
from measures.word_similarity import word_similarity
from models import MODELS, fashion_mnist
from pictures import cifar10, imagenet
from qcompile.calibration.calibrators import CALIBRATORS
from qcompile.config import CompileConfig, Override
from qcompile.files import write_atomic
from qcompile.model import CompiledModel
from qcompile.validation.accuracy import accuracy
from qcompile.validation.deviation import Deviation
from qcompile.validation.reference import FloatReference, open_session
from tables import Row, markdown

TARGET = "x86-vnni"
NOISE = 500
"""Inputs of noise, of each kind."""
SEED = 0
PICTURES = 20
"""Of a model without labels."""

Answers = npt.NDArray[np.float32]


def fmnist() -> list[Row]:
    """Return the accuracy on 2 000 labelled pictures, with its interval."""
    inputs, labels = fashion_mnist("test")
    ours = answers(compiled("fmnist_resnet"), inputs)
    theirs = reference("fmnist_resnet", inputs)
    figures = accuracy(labels, ours.argmax(1), theirs.argmax(1))
    assert figures["ci95"] is not None
    low, high = figures["ci95"]
    return [
        {
            "pictures": len(labels),
            "float": figures["float"],
            "int8": figures["compiled"],
            "drop": figures["drop"],
            "95 % interval": f"{low:+.4f} to {high:+.4f}",
            "same class": figures["agreement"],
            "SQNR dB": sqnr(theirs, ours),
        }
    ]


def resnet8() -> list[Row]:
    """Return how often the foreign model's class is onnxruntime's, per kind of input."""
    random = np.random.default_rng(SEED)
    pictures, _ = cifar10()
    around = pictures[np.arange(NOISE) % len(pictures)]
    bytes_ = random.integers(0, 256, around.shape)
    blurred = around + random.normal(0, 0.25, around.shape)
    kinds = {
        "CIFAR-10 pictures": pictures,
        "the same with noise": np.clip(blurred, -1, 1).astype(np.float32),
        "noise, uniform bytes": ((bytes_ - 128) / 128).astype(np.float32),
        "noise, normal": random.normal(0, 0.5, around.shape).astype(np.float32),
    }
    model = compiled("resnet8_qdq")
    rows: list[Row] = []
    for kind, inputs in kinds.items():
        ours, theirs = answers(model, inputs), reference("resnet8_qdq", inputs)
        same = ours.argmax(1) == theirs.argmax(1)
        rows.append(
            {
                "inputs": kind,
                "count": len(inputs),
                "classes onnxruntime gives": len(set(theirs.argmax(1).tolist())),
                "same class": f"{int(same.sum())} of {len(same)}",
                "share": float(same.mean()),
                "largest difference": float(np.abs(ours - theirs).max()),
            }
        )
    return rows


def efficientnet() -> list[Row]:
    """Return the figures of every calibrator, then of weights per tensor."""
    configs = {
        f"{name}, weights per channel": CompileConfig(calibrator=name) for name in CALIBRATORS
    }
    per_tensor = Override(per_channel=False)
    configs["mse, weights per tensor"] = CompileConfig(
        ops={"Conv": per_tensor, "Gemm": per_tensor}
    )
    inputs, labels = imagenet()
    theirs = reference("efficientnet_lite0", inputs)
    rows: list[Row] = [{"scheme": "float", **_top1(theirs, theirs, labels)}]
    for name, config in configs.items():
        ours = answers(compiled("efficientnet_lite0", config), inputs)
        rows.append({"scheme": name, **_top1(ours, theirs, labels)})
        print(f"efficientnet: {name}: done", file=sys.stderr)
    return rows


def _top1(ours: Answers, theirs: Answers, labels: npt.NDArray[np.int64]) -> Row:
    return {
        "photos": len(labels),
        "right": int((ours.argmax(1) == labels).sum()),
        "same class as float": int((ours.argmax(1) == theirs.argmax(1)).sum()),
        "SQNR dB": sqnr(theirs, ours),
    }


def compiled(name: str, config: CompileConfig | None = None) -> CompiledModel:
    """Return a model compiled with its own calibration data."""
    model = MODELS[name]
    calibration = model.calibration_samples()
    return qcompile.compile(model.path(), TARGET, calibration=calibration, config=config)


def answers(model: CompiledModel, inputs: Floats) -> Answers:
    """Return the compiled model's first output for each input."""
    name = model.output_names[0]
    return np.concatenate(
        [model.run(sample)[name] for sample in samples(inputs)], dtype=np.float32
    )


def reference(name: str, inputs: Floats) -> Answers:
    """Return onnxruntime's first output for each input."""
    session = open_session(MODELS[name].path(), where=name)
    runs = [session.run(None, sample)[0] for sample in samples(inputs)]
    return np.concatenate(runs, dtype=np.float32)


def sqnr(expected: Answers, got: Answers) -> float:
    """Return the signal to quantization noise of all answers, in decibels."""
    deviation = Deviation()
    deviation.add(expected, got)
    return deviation.sqnr_db


def unlabelled(name: str) -> Measure:
    """Return the measure of a model's outputs for its test inputs."""

    def measure(ours: Run, theirs: Run) -> list[Row]:
        return outputs(ours, theirs, MODELS[name].test_samples(PICTURES))

    return measure


MEASURES: dict[str, Measure] = {
    "pp_ocr_rec": reading,
    "pp_ocr_cls": turning,
    "pp_ocr_det": finding,
    "minilm_l6_16": word_similarity,
    "silero_vad": speech,
    **{name: unlabelled(name) for name in ("vit_s", "open_nsfw", "ddddocr_det")},
}
"""By model."""


def measured(name: str) -> list[Row]:
    """Compile a model and return its measure."""
    return MEASURES[name](compiled(name).run, FloatReference(MODELS[name].path()))


PARTS: dict[str, Callable[[], list[Row]]] = {
    "fmnist": fmnist,
    "resnet8": resnet8,
    "efficientnet": efficientnet,
    **{name: partial(measured, name) for name in MEASURES},
}


def main() -> int:
    """Measure the named parts, or all, and print a table of each."""
    parser = argparse.ArgumentParser(description="Measure what int8 costs in accuracy.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    options = parser.parse_args()
    unknown = sorted(set(options.parts) - set(PARTS))
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; there are: {', '.join(PARTS)}")
    os.environ.setdefault("QCOMPILE_THREADS", "1")
    tables = {}
    for part in options.parts or PARTS:
        tables[part] = PARTS[part]()
        print(f"## {part}, {TARGET}\n\n{markdown(tables[part])}\n", flush=True)
    if options.json is not None:
        write_atomic(options.json, f"{json.dumps(tables, indent=2)}\n".encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
