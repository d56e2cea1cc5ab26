"""Measure latency against other runtimes: `python benchmarks/latency.py [MODEL...]`.

Every configuration has a process of its own; in every round each of them has its turn, in
rotating order, while the others sleep. A ratio is taken round by round, and what is shown is
the median of the rounds' medians and ratios: the speed of a machine drifts, ratios do not.
Writes benchmarks/results/latency.json, and latency.md beside it, after every model. Returns 1
if ours has no figure for a model.
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
from figures import Case, geomean
from latency_page import MEANS, page
from machine import load_average, machine
from models import MODELS, named
from qcompile.errors import CompileError
from qcompile.files import check_writable, write_atomic
from turns import Worker, WorkerError, alternate, save_inputs
from worker import reason

RESULTS = Path(__file__).parent / "results" / "latency.json"
DEFAULT = (
    "resnet50",
    "mobilenet_v2",
    "efficientnet_lite0",
    "pp_ocr_det",
    "pp_ocr_rec",
    "pp_ocr_cls",
    "resnet8",
    "fmnist_resnet",
    "ddddocr_det",
    "open_nsfw",
    "minilm_l6_128",
    "vit_s",
)


def main() -> int:
    """Measure the models, print the page and write it."""
    options = parse()
    check_writable(options.json)
    check_writable(options.json.with_suffix(".md"))
    facts = machine() | {
        "rounds": str(options.rounds),
        "seconds of a turn": str(options.seconds),
        "target": options.target,
    }
    cases: list[Case] = []
    refused: dict[str, str] = {}
    for batch in options.batch:
        for model in options.models or [MODELS[name] for name in DEFAULT]:
            try:
                measure(model, batch, options, cases)
            except CompileError as error:
                refused[f"{model.name}, batch {batch}"] = reason(error)
            write(options.json, facts, cases, refused)
    print(page(facts, cases, refused))
    return int(any(OURS in case.failed for case in cases))


def parse() -> argparse.Namespace:
    """Return the command's options."""
    parser = argparse.ArgumentParser(description="Measure latency against other runtimes.")
    models = f"{', '.join(DEFAULT)} unless told; there are also {', '.join(MODELS)}"
    parser.add_argument("models", nargs="*", metavar="MODEL", type=named, help=models)
    parser.add_argument("--threads", type=numbers, default=[1], help="such as 1,2")
    parser.add_argument("--batch", type=numbers, default=[1], help="such as 1,8")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.15, help="of each turn")
    parser.add_argument("--target", default="native")
    parser.add_argument("--json", type=Path, default=RESULTS, help="file to write to")
    return parser.parse_args()


def numbers(text: str) -> list[int]:
    """Return numbers separated by commas, for argparse."""
    found = [int(each) for each in text.split(",")]
    if min(found) < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}, each number must be 1 or more")
    return found


def measure(
    model: BenchmarkModel, batch: int, options: argparse.Namespace, cases: list[Case]
) -> None:
    """Measure every configuration of a model, for each number of threads.

    Raises:
        CompileError: The model is not there, or takes no such batch.
    """
    fixed = batched(model, batch)
    fixed.path()
    files, failed = make(list(configurations(fixed, options.target)))
    with tempfile.TemporaryDirectory(prefix="qcompile-") as folder:
        inputs = Path(folder) / "inputs.npz"
        save_inputs(inputs, fixed.test_samples(1)[0])
        for threads in options.threads:
            workers, not_opened = start(files, inputs, threads)
            try:
                measured, ended = alternate(workers, options.rounds, options.seconds)
            finally:
                for worker in workers.values():
                    worker.close()
            cases.append(
                Case(
                    model=model.name,
                    transformer=model.transformer,
                    threads=threads,
                    batch=batch,
                    load=load_average(),
                    measured=measured,
                    failed=failed | not_opened | ended,
                )
            )
            print(f"{model.name}, {threads} threads, batch {batch}: done", file=sys.stderr)


def make(
    wanted: list[Configuration],
) -> tuple[dict[Configuration, Path], dict[str, str]]:
    """Return the model files, and why there is none of the other configurations."""
    files: dict[Configuration, Path] = {}
    failed: dict[str, str] = {}
    for configuration in wanted:
        try:
            files[configuration] = configuration.make()
        except Exception as error:
            failed[configuration.name] = reason(error)
    return files, failed


def start(
    files: Mapping[Configuration, Path], inputs: Path, threads: int
) -> tuple[dict[str, Worker], dict[str, str]]:
    """Return a worker for each configuration, and why the others do not open."""
    workers: dict[str, Worker] = {}
    failed: dict[str, str] = {}
    for each, path in files.items():
        try:
            workers[each.name] = Worker(
                each.runtime, path, inputs, threads, each.option, each.variables
            )
        except WorkerError as error:
            failed[each.name] = str(error)
    return workers, failed


def write(
    path: Path, facts: Mapping[str, str], cases: list[Case], refused: Mapping[str, str]
) -> None:
    """Write the figures as JSON, and the page beside it."""
    means = [
        {
            "threads": threads,
            "batch": batch,
            "over": name,
            "ahead_of_fastest": geomean(chosen, int8=False, chosen=which),
            "ahead_of_int8": geomean(chosen, int8=True, chosen=which),
        }
        for threads, batch in dict.fromkeys((case.threads, case.batch) for case in cases)
        for chosen in [[c for c in cases if (c.threads, c.batch) == (threads, batch)]]
        for name, which in MEANS.items()
    ]
    data = {
        "machine": dict(facts),
        "cases": [case.json() for case in cases],
        "geometric_means": means,
        "refused": dict(refused),
    }
    write_atomic(path, f"{json.dumps(data, indent=2)}\n".encode())
    write_atomic(path.with_suffix(".md"), page(facts, cases, refused).encode())


if __name__ == "__main__":
    sys.exit(main())
