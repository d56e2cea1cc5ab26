"""Measure latency against other runtimes: `python benchmarks/latency.py [MODEL...]`.

Every configuration has a process of its own; in every round each of them has its turn, in
rotating order, while the others sleep. A ratio is taken round by round, and what is shown is
the median of the rounds' medians and ratios: the speed of a machine drifts, ratios do not.
Writes benchmarks/results/latency.md and latency.json.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import platform
import statistics
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import qcompile
from benchmark_model import BenchmarkModel
from models import add_models
from qcompile.files import write_atomic
from rivals import onnxruntime_int8
from tables import Row, markdown
from turns import Measured, Worker, alternate

RESULTS = Path(__file__).parent / "results"
OURS = "qcompile int8"
RIVALS = ("onnxruntime", "openvino")


def main() -> int:
    """Measure the models, print the table and write it."""
    parser = argparse.ArgumentParser(description="Measure latency against other runtimes.")
    add_models(parser)
    parser.add_argument("--target", default="native")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.15, help="of each turn")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder to write to")
    options = parser.parse_args()
    figures = {}
    for model in options.models:
        with tempfile.TemporaryDirectory(prefix="qcompile-") as folder:
            configurations = prepare(model, options.target, Path(folder))
            inputs = Path(folder) / "inputs.npz"
            np.savez(inputs, **model.test_samples(1)[0])
            workers = {
                name: Worker(runtime, path, inputs, options.threads)
                for name, (runtime, path) in configurations.items()
            }
            figures[model.name] = alternate(workers, options.rounds, options.seconds)
        print(f"{model.name}: measured", file=sys.stderr)
    write(figures, options)
    return 0


def prepare(
    model: BenchmarkModel, target: str, folder: Path
) -> Mapping[str, tuple[str, Path]]:
    """Return the runtime and the model file of every configuration."""
    artifact = folder / "model.qcm"
    compiled = qcompile.compile(model.path(), target, calibration=model.calibration_samples())
    compiled.save(artifact)
    int8 = onnxruntime_int8(model)
    configurations = {
        OURS: ("qcompile", artifact),
        "onnxruntime int8": ("onnxruntime", int8),
    }
    if installed("openvino"):
        configurations["openvino int8"] = ("openvino", int8)
    if model.calibration is not None:
        for name, (runtime, _) in list(configurations.items())[1:]:
            configurations[name.replace("int8", "float")] = (runtime, model.path())
    return configurations


def write(figures: Mapping[str, Mapping[str, Measured]], options: Any) -> None:
    """Print the table, and write it as Markdown and as JSON."""
    rows = [row for name, measured in figures.items() for row in table(name, measured)]
    facts = {
        "cpu": cpu_name(),
        "threads": options.threads,
        "target": options.target,
        "rounds": options.rounds,
        "seconds a turn": options.seconds,
        "versions": f"qcompile {qcompile.__version__}, {rival_versions()}",
    }
    results = {
        name: {
            key: {"rounds_ms": each.rounds, "ratios": each.ratios(measured[OURS])}
            for key, each in measured.items()
        }
        for name, measured in figures.items()
    }
    options.results.mkdir(parents=True, exist_ok=True)
    data = json.dumps({**facts, "models": results, "table": rows}, indent=2)
    write_atomic(options.results / "latency.json", f"{data}\n".encode())
    lines = [f"- {key}: {value}" for key, value in facts.items()]
    page = "\n".join(["# Latency", "", *lines, "", markdown(rows), "", *summary(figures), ""])
    write_atomic(options.results / "latency.md", page.encode())
    print(page)


def table(name: str, measured: Mapping[str, Measured]) -> list[Row]:
    """Return a row for every configuration of a model."""
    rows: list[Row] = []
    for key, each in measured.items():
        ratios = each.ratios(measured[OURS])
        rows.append(
            {
                "model": name,
                "configuration": key,
                "ms": round(each.median, 3),
                "spread": f"{each.spread:.0%}",
                "times ours": f"{statistics.median(ratios):.2f}",
                "of all rounds": f"{min(ratios):.2f} to {max(ratios):.2f}",
            }
        )
    return rows


def summary(figures: Mapping[str, Mapping[str, Measured]]) -> list[str]:
    """Return a line a model on its fastest rival, and the geometric mean over the models."""
    lines, logarithms = [], []
    for name, measured in figures.items():
        ratios = {
            key: statistics.median(each.ratios(measured[OURS]))
            for key, each in measured.items()
            if key != OURS
        }
        fastest = min(ratios, key=lambda key: ratios[key])
        logarithms.append(math.log(ratios[fastest]))
        lines.append(f"- {name}: {ratios[fastest]:.2f} times as fast as {fastest}")
    mean = math.exp(statistics.mean(logarithms))
    return [
        "Against the fastest rival of each model:",
        "",
        *lines,
        f"- geometric mean: {mean:.2f}",
    ]


def rival_versions() -> str:
    """Return what the rivals' packages call themselves."""
    return ", ".join(f"{name} {version(name)}" for name in RIVALS if installed(name))


def installed(package: str) -> bool:
    """Whether a package can be imported here."""
    return importlib.util.find_spec(package) is not None


def cpu_name() -> str:
    """Return what the processor calls itself."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


if __name__ == "__main__":
    sys.exit(main())
