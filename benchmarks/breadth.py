"""Compile every model and say what becomes integer: `python benchmarks/breadth.py [MODEL...]`.

A row a model: its nodes, those of the integer graph and how many of them compute in float,
the share of multiply-accumulates that are integer, seconds, and how far its outputs are from
the float model's. A model that is refused has its error instead. Returns 1 if any is.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

import onnx

import qcompile
from benchmark_model import BenchmarkModel
from measures.outputs import outputs
from models import MODELS, named
from qcompile.errors import CalibrationWarning, CompileError
from qcompile.files import write_atomic
from qcompile.model import CompiledModel
from qcompile.validation.reference import FloatReference
from tables import Row, markdown

TARGET = "x86-vnni"
INPUTS = 4
COLUMNS = (
    "nodes",
    "after",
    "float nodes",
    "integer MACs",
    "seconds",
    "SQNR dB",
    "float",
    "error",
)


def main() -> int:
    """Compile, print a table, and return 1 if a model is refused."""
    parser = argparse.ArgumentParser(description="Compile every model.")
    parser.add_argument("models", nargs="*", metavar="MODEL", type=named)
    parser.add_argument("--target", default=TARGET)
    parser.add_argument("--inputs", type=int, default=INPUTS, help="compared with float")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    options = parser.parse_args()
    os.environ.setdefault("QCOMPILE_THREADS", "1")
    warnings.simplefilter("ignore", CalibrationWarning)
    rows = []
    for model in options.models or MODELS.values():
        rows.append(row(model, options.target, options.inputs))
        print(f"{model.name}: {rows[-1]['error'] or 'compiled'}", file=sys.stderr)
    if options.json is not None:
        write_atomic(options.json, f"{json.dumps(rows, indent=2)}\n".encode())
    print(markdown(rows))
    return int(any(each["error"] for each in rows))


def row(model: BenchmarkModel, target: str, count: int) -> Row:
    """Return what came of one model; what crashes is a row too, and the others still run."""
    figures: dict[str, object] = {"model": model.name, **dict.fromkeys(COLUMNS, "")}
    try:
        figures["nodes"] = len(onnx.load(model.path()).graph.node)
        start = time.perf_counter()
        compiled = qcompile.compile(
            model.path(), target, calibration=model.calibration_samples()
        )
        figures["seconds"] = round(time.perf_counter() - start, 1)
        figures |= compiled_figures(compiled)
        reference = FloatReference(model.path())
        first, *_ = outputs(compiled.run, reference, model.test_samples(count))
        figures["SQNR dB"] = first["SQNR dB"]
    except CompileError as error:
        figures["error"] = str(error).splitlines()[0]
    except Exception as error:
        figures["error"] = f"{type(error).__name__}: {str(error).splitlines()[:1]}"
    return figures


def compiled_figures(compiled: CompiledModel) -> dict[str, object]:
    """Return nodes and multiply-accumulates, and which operators stay float."""
    report = compiled.report
    macs = report["macs"]
    floats = Counter(
        operator for island in report["float_islands"] for operator in island["operators"]
    )
    return {
        "after": report["ops"]["total"],
        "float nodes": report["ops"]["float"],
        "integer MACs": f"{macs['integer'] / macs['total']:.2%}" if macs["total"] else "",
        "float": ", ".join(sorted(floats)),
    }


if __name__ == "__main__":
    sys.exit(main())
