"""Count an inference's instructions on ARM: `python benchmarks/instructions.py [MODEL...]`.

Every runtime runs on one thread of the same emulated CPU, a Neoverse N1, which has int8 dot
products. What is executed is counted, not timed: the difference between a few and more runs
in one process, so that loading and packing cancel. Writes benchmarks/results/instructions.md;
returns 1 if a rival needs fewer.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import onnx

import qcompile
from benchmark_model import BenchmarkModel
from emulated import CPU, RUNTIMES, Count, count
from models import MODELS, named
from qcompile.files import write_atomic
from qdq_to_tflite import qdq_to_tflite
from rivals import onnxruntime_int8
from tables import Row, markdown

Array = npt.NDArray[Any]
Key = TypeVar("Key")
Configuration = tuple[str, Callable[[], Path]]

RESULTS = Path(__file__).parent / "results"
DEFAULT = ("fmnist_resnet", "efficientnet_lite0")
TARGET = "arm-dotprod"
OURS, LITERT, ONNXRUNTIME = "qcompile", "LiteRT, XNNPACK", "onnxruntime, s8"
SAME_FILE = (OURS, LITERT, ONNXRUNTIME)
"""These compute from the same integers: the QDQ file, or the TFLite file made of it."""

DOTS = "[su]dot|usdot|[su]mmla|usmmla"
LISTED = 8
"""How many functions and mnemonics are listed: those that take most."""


def main() -> int:
    """Count, print the tables and write them."""
    parser = argparse.ArgumentParser(description="Count the instructions of an inference.")
    parser.add_argument(
        "models",
        nargs="*",
        metavar="MODEL",
        type=named,
        help=f"{', '.join(DEFAULT)} unless told",
    )
    options = parser.parse_args()
    figures = {}
    for model in options.models or [MODELS[name] for name in DEFAULT]:
        figures[model.name] = counts(model)
    rows = [row for name, each in figures.items() for row in table(name, each)]
    page = [
        "# Instructions of an inference",
        "",
        f"- cpu: {CPU}, emulated, one thread",
        f"- versions: qcompile {qcompile.__version__} for {TARGET}, {', '.join(RUNTIMES[:2])}",
        "",
        markdown(rows),
        "",
        "Where they are, and which:",
        "",
        *(line for name, each in figures.items() for line in details(name, each)),
    ]
    print("\n".join(page))
    write_atomic(RESULTS / "instructions.md", "\n".join(page).encode())
    return int(any(beaten(each) for each in figures.values()))


def beaten(figures: Mapping[str, Count]) -> bool:
    """Whether a rival needs fewer instructions than ours."""
    rivals = (each for name, each in figures.items() if not name.startswith(OURS))
    return any(each.total < figures[OURS].total for each in rivals)


def counts(model: BenchmarkModel) -> Mapping[str, Count]:
    """Return the count of every configuration."""
    (inputs,) = model.test_samples(1)
    found = {}
    with tempfile.TemporaryDirectory(prefix="qcompile-") as folder:
        for name, (runtime, file) in configurations(model, Path(folder)).items():
            found[name] = count(runtime, file(), inputs)
            print(f"{model.name}, {name}: counted", file=sys.stderr)
    return found


def configurations(model: BenchmarkModel, folder: Path) -> Mapping[str, Configuration]:
    """Return the runtime of every configuration and what makes its file."""
    signed = onnxruntime_int8(model, signed=True)
    return {
        OURS: ("qcompile", partial(library, model, signed, folder)),
        LITERT: ("litert", partial(tflite_file, signed, folder)),
        ONNXRUNTIME: ("onnxruntime", lambda: signed),
        "onnxruntime, u8": ("onnxruntime", partial(onnxruntime_int8, model)),
        "qcompile, own scales": ("qcompile", partial(library, model, model.path(), folder)),
    }


def library(model: BenchmarkModel, source: Path, folder: Path) -> Path:
    """Compile, and return the library alone."""
    compiled = qcompile.compile(source, TARGET, calibration=model.calibration_samples())
    path = folder / f"{source.stem}.so"
    path.write_bytes(compiled.library)
    return path


def tflite_file(source: Path, folder: Path) -> Path:
    """Write the TFLite file with the same integers."""
    path = folder / f"{source.stem}.tflite"
    path.write_bytes(qdq_to_tflite(onnx.load(source)))
    return path


def table(name: str, figures: Mapping[str, Count]) -> list[Row]:
    """Return a row for every configuration of a model."""
    ours, reference = figures[OURS], figures[ONNXRUNTIME].output
    step = np.diff(np.unique(reference)).min()
    return [
        {
            "model": name,
            "configuration": key,
            "instructions": f"{each.total / 1e6:.3f} M",
            "times ours": f"{each.total / ours.total:.2f}",
            "dot products": f"{each.share(DOTS):.1%}",
            "class": int(np.argmax(each.output)),
            "steps apart": steps(each.output, reference, step) if key in SAME_FILE else "",
        }
        for key, each in figures.items()
    ]


def steps(output: Array, reference: Array, step: float) -> int:
    """Return the largest difference in steps of the output's scale."""
    return round(float(np.abs(output.reshape(reference.shape) - reference).max()) / step)


def details(name: str, figures: Mapping[str, Count]) -> list[str]:
    """Return where the instructions of every configuration are, and which they are."""
    lines = [f"## {name}"]
    for key, each in figures.items():
        functions: dict[str, float] = defaultdict(float)
        for (file, function), number in each.places.items():
            functions[re.sub(r"^k\d+_|_compute_$", "", function) or file] += number
        lines += ["", f"{key}:"]
        lines += [f"- {n / 1e6:.3f} M {what}" for what, n in largest(functions) if n >= 500]
        shares = [f"{what} {n / each.total:.1%}" for what, n in largest(each.mnemonics)]
        lines.append(f"- {', '.join(shares)}")
    return [*lines, ""]


def largest(numbers: Mapping[Key, float]) -> list[tuple[Key, float]]:
    """Return the largest numbers with their keys."""
    return sorted(numbers.items(), key=lambda item: -item[1])[:LISTED]


if __name__ == "__main__":
    sys.exit(main())
