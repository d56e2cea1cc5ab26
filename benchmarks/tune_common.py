"""Make the tuning log that ships: `python benchmarks/tune_common.py [MODEL...]`.

The kernels of every model are measured on this machine; run it while nothing else runs. What
was measured stands in a log of its own in the cache, so a run that is cut short is taken up
again, and after a change of a kernel template only its kernels are measured anew. Then
targets/tuning/TARGET.jsonl is written: the kernels for which another tile than the cost
model's is faster. Returns 1 if a model is refused.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Iterable
from pathlib import Path

import qcompile
from benchmark_model import BenchmarkModel
from models import add_models
from packages import CACHE
from qcompile import tuning_log
from qcompile.errors import CalibrationWarning, CompileError
from qcompile.files import write_atomic
from qcompile.targets import find_target
from qcompile.tuning_log import Record

SHIPPED = Path(__file__).parents[1] / "targets" / "tuning"
CALIBRATED_WITH = 4
"""Samples: tile sizes hang on shapes, and ranges only choose the recipe."""


def main() -> int:
    """Tune every model, write the log that ships, and return 1 if a model is refused."""
    parser = argparse.ArgumentParser(description="Make the tuning log that ships.")
    add_models(parser)
    parser.add_argument("--target", default="native")
    parser.add_argument("--seconds", type=float, help="for all the models together")
    options = parser.parse_args()
    warnings.simplefilter("ignore", CalibrationWarning)
    target = find_target(options.target).name
    log = CACHE / f"tuning.{target}.jsonl"
    end = time.monotonic() + (options.seconds or float("inf"))
    refused = False
    for model in options.models:
        left = end - time.monotonic()
        if left <= 0:
            break
        refused |= not tune(model, target, log, left if options.seconds else None)
    shipped = SHIPPED / f"{target}.jsonl"
    records = better(tuning_log.read(log)) if log.exists() else []
    lines = [json.dumps(each.to_json(), sort_keys=True) + "\n" for each in records]
    write_atomic(shipped, "".join(lines).encode())
    print(f"{shipped}: {len(lines)} kernels")
    return int(refused)


def tune(model: BenchmarkModel, target: str, log: Path, seconds: float | None) -> bool:
    """Measure the kernels of one model; return whether it could be compiled."""
    try:
        data = model.calibration_samples()
        report = qcompile.tune(
            model.path(),
            target,
            log,
            calibration=data and data[:CALIBRATED_WITH],
            seconds=seconds,
            progress=True,
        )
    except CompileError as error:
        print(f"{model.name}: {error}", file=sys.stderr)
        return False
    print(
        f"{model.name}: {report.kernels} kernels, {report.known} known, {report.measured} "
        f"measured, {report.better} better, {report.left} left, {report.seconds:.0f} s",
        flush=True,
    )
    return True


def better(records: Iterable[Record]) -> list[Record]:
    """Return the last record of each kernel of today's templates that gains by its tile."""
    found = list(records)
    versions = {(each.isa, each.kernel): each.version for each in found}
    last = {(each.key, each.caches): each for each in found}
    return [
        each
        for each in last.values()
        if each.tile != each.untuned and versions[each.isa, each.kernel] == each.version
    ]


if __name__ == "__main__":
    sys.exit(main())
