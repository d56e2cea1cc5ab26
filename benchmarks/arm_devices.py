"""Validate on emulated ARM boards over RPC: `python benchmarks/arm_devices.py [MODEL...]`.

Every ARM target runs on the weakest CPU model of the emulator that it may run on: an
instruction outside the target's set would be illegal there. Compared are every value with the
oracle, the answers of arm-dotprod with those of x86-vnni for the same QDQ model, and the
classes of Fashion-MNIST pictures with those on x86. Writes benchmarks/results/arm_devices.md;
returns 1 if anything differs.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import qcompile
from benchmark_model import BenchmarkModel, samples
from boards import board
from exactness import compare
from models import MODELS, add_models, fashion_mnist
from qcompile.compiler import quantize_model
from qcompile.device import Device
from qcompile.files import write_atomic
from qcompile.targets import open_device
from tables import Row, markdown

RESULTS = Path(__file__).parent / "results"
CPUS = {"arm-neon": "cortex-a72", "arm-dotprod": "neoverse-n1", "arm-i8mm": "max"}
"""The weakest CPU model of the emulator that has a target's instructions."""

HERE, THERE = "x86-vnni", "arm-dotprod"
INPUTS = 10
PICTURES = 500
SECONDS = 300.0
"""For one answer: an emulated board takes its time."""


def main() -> int:
    """Compare, print the tables and write them."""
    parser = argparse.ArgumentParser(description="Validate on emulated ARM boards.")
    add_models(parser)
    parser.add_argument("--inputs", type=int, default=INPUTS)
    parser.add_argument("--pictures", type=int, default=PICTURES)
    options = parser.parse_args()
    os.environ.setdefault("QCOMPILE_THREADS", "1")
    exact, same, classes = [], [], []
    for target, cpu in CPUS.items():
        with board(cpu) as url, open_device(url, timeout=SECONDS) as device:
            for model in options.models:
                row = compare(model, target, options.inputs, device)
                exact.append({"cpu": cpu, **row})
                print(f"{model.name} for {target} on {cpu}: compared", file=sys.stderr)
            if target == THERE:
                same = [families(each, options.inputs, device) for each in options.models]
                classes = [pictures(options.pictures, device)]
    write(exact, same, classes)
    return int(any(row["differing"] for row in (*exact, *same, *classes)))


def families(model: BenchmarkModel, count: int, device: Device) -> Row:
    """Compare x86 with ARM: the QDQ model is made once, and compiled for both."""
    calibration = model.calibration_samples()
    source = (
        model.path()
        if calibration is None
        else quantize_model(model.path(), HERE, calibration=calibration)
    )
    here, there = (qcompile.compile(source, target) for target in (HERE, THERE))
    on_device = there.on(device)
    compared = differing = 0
    for sample in model.test_samples(count):
        got = on_device.run(sample)
        for name, array in here.run(sample).items():
            compared += array.size
            differing += int(np.count_nonzero(array != got[name]))
    return {
        "model": model.name,
        "inputs": count,
        "numbers compared": compared,
        "differing": differing,
    }


def pictures(count: int, device: Device) -> Row:
    """Compare the classes of Fashion-MNIST pictures here and there, picture by picture."""
    model = MODELS["fmnist_resnet"]
    images, labels = fashion_mnist("test")
    inputs = samples(images[:count])
    here, there = (
        qcompile.compile(model.path(), target, calibration=model.calibration_samples())
        for target in (HERE, THERE)
    )
    ours, theirs = (
        np.array([np.argmax(next(iter(each.run(sample).values()))) for sample in inputs])
        for each in (here, there.on(device))
    )
    return {
        "model": model.name,
        "pictures": count,
        f"right, {HERE}": int(np.count_nonzero(ours == labels[:count])),
        f"right, {THERE} on the device": int(np.count_nonzero(theirs == labels[:count])),
        "differing": int(np.count_nonzero(ours != theirs)),
    }


def write(exact: Sequence[Row], same: Sequence[Row], classes: Sequence[Row]) -> None:
    """Print the tables, and write them as Markdown."""
    page = "\n".join(
        [
            "# On emulated ARM boards, over RPC",
            "",
            "Every value against the oracle:",
            "",
            markdown(exact),
            "",
            f"Outputs for {THERE} on the device against those for {HERE} here, one by one.",
            f"Both are compiled from one QDQ model: quantized for {HERE}, if not already:",
            "",
            markdown(same),
            "",
            f"Classes of pictures, each target with its own scheme, {THERE} on the device:",
            "",
            markdown(classes),
            "",
        ]
    )
    write_atomic(RESULTS / "arm_devices.md", page.encode())
    print(page)


if __name__ == "__main__":
    sys.exit(main())
