"""Measure peak memory against onnxruntime: `python benchmarks/memory.py [MODEL...]`.

Each configuration has a process of its own, one after the other, which opens the model and
runs it 20 times; the figure is the most that it had in memory (VmHWM). Python with NumPy
and the inputs alone is a configuration too. Writes benchmarks/results/memory.json, and
memory.md beside it; returns 1 where ours takes more than onnxruntime's on some model.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from batches import batched
from benchmark_model import BenchmarkModel
from configurations import OURS, Configuration, configurations
from latency import DEFAULT, numbers
from machine import machine
from models import MODELS, named
from qcompile.files import check_writable, write_atomic
from tables import markdown
from turns import Worker, save_inputs
from worker import reason

RESULTS = Path(__file__).parent / "results" / "memory.json"
RUNS = 20
NOTHING = "Python, NumPy, inputs"
RIVALS = ("onnxruntime int8", "onnxruntime float")
MEASURED = (OURS, *RIVALS)


def main() -> int:
    """Measure the models, print the page and write it."""
    parser = argparse.ArgumentParser(description="Measure peak memory against onnxruntime.")
    models = f"{', '.join(DEFAULT)} unless told"
    parser.add_argument("models", nargs="*", metavar="MODEL", type=named, help=models)
    parser.add_argument("--threads", type=numbers, default=[1], help="such as 1,2")
    parser.add_argument("--target", default="native")
    parser.add_argument("--json", type=Path, default=RESULTS, help="file to write to")
    options = parser.parse_args()
    check_writable(options.json)
    check_writable(options.json.with_suffix(".md"))
    facts = machine() | {"runs": str(RUNS), "target": options.target}
    figures: list[dict[str, object]] = []
    for model in options.models or [MODELS[name] for name in DEFAULT]:
        for threads in options.threads:
            peaks, failed = measure(model, options.target, threads)
            figures.append(
                {"model": model.name, "threads": threads, "peak_mb": peaks, "failed": failed}
            )
        print(f"{model.name}: done", file=sys.stderr)
        write(options.json, facts, figures)
    print(page(facts, figures))
    return int(not all(is_least(each["peak_mb"]) for each in figures))


def measure(
    model: BenchmarkModel, target: str, threads: int
) -> tuple[dict[str, float], dict[str, str]]:
    """Return the peak of each configuration in MB, and why others have none."""
    fixed = batched(model, 1)
    peaks: dict[str, float] = {}
    failed: dict[str, str] = {}
    nothing = Configuration(NOTHING, "nothing", fixed.path)
    chosen = [each for each in configurations(fixed, target) if each.name in MEASURED]
    with tempfile.TemporaryDirectory(prefix="qcompile-") as folder:
        inputs = Path(folder) / "inputs.npz"
        save_inputs(inputs, fixed.test_samples(1)[0])
        for each in [nothing, *chosen]:
            try:
                peaks[each.name] = peak(each, inputs, threads)
            except Exception as error:
                failed[each.name] = reason(error)
    return peaks, failed


def peak(configuration: Configuration, inputs: Path, threads: int) -> float:
    """Return the peak of one configuration in MB.

    Raises:
        WorkerError: It cannot open its model, or run it.
    """
    worker = Worker(configuration.runtime, configuration.make(), inputs, threads)
    try:
        worker.measure(0.0, RUNS)
        return worker.peak_memory()
    finally:
        worker.close()


def is_least(peaks: object) -> bool:
    """Whether ours takes no more than any of onnxruntime's."""
    assert isinstance(peaks, Mapping)
    theirs = [peaks[name] for name in RIVALS if name in peaks]
    return OURS in peaks and all(peaks[OURS] <= each for each in theirs)


def page(facts: Mapping[str, str], figures: list[dict[str, object]]) -> str:
    """Return the page as Markdown."""
    rows, reasons = [], []
    for each in figures:
        peaks, failed = each["peak_mb"], each["failed"]
        assert isinstance(peaks, Mapping)
        assert isinstance(failed, Mapping)
        row: dict[str, object] = {"model": each["model"], "threads": each["threads"]}
        names = (NOTHING, *MEASURED)
        row |= {name: f"{peaks[name]:.0f}" if name in peaks else "" for name in names}
        rows.append(row)
        reasons += [f"- {each['model']}, {name}: {why}" for name, why in failed.items()]
    lines = ["# Peak memory", "", *(f"- {key}: {value}" for key, value in facts.items()), ""]
    lines += ["MB; the first column is in each of the others.", "", markdown(rows), ""]
    return "\n".join([*lines, *reasons, ""] if reasons else lines)


def write(path: Path, facts: Mapping[str, str], figures: list[dict[str, object]]) -> None:
    """Write the figures as JSON, and the page beside it."""
    data = json.dumps({"machine": dict(facts), "figures": figures}, indent=2)
    write_atomic(path, f"{data}\n".encode())
    write_atomic(path.with_suffix(".md"), page(facts, figures).encode())


if __name__ == "__main__":
    sys.exit(main())
