"""A process that reads mutants, with a bound on its memory; it answers what came of each.

Started as `python -m tests.fuzz.worker`; a line on stdin is a kind and a path, a
line on stdout a JSON list: "read", "refused" or "fault", and the text.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir

from qcompile import artifact
from qcompile.compiler import compile_model
from qcompile.config import CompileConfig
from qcompile.data.dataset import InputSpec, load_data
from qcompile.errors import CompileError
from qcompile.importer.load_model import load_model
from tests.graphs import graph

MEMORY = 3 << 30
"""What a mutant may take beyond what the worker has after its imports."""

FLOAT = CompileConfig(recipe="float")
IMAGE = InputSpec("image", np.dtype(np.float32), (1, 3, 4, 4))


def read_model(path: Path) -> None:
    """Import an ONNX file."""
    load_model(path)


def compile_float(path: Path) -> None:
    """Compile an ONNX file, everything in float."""
    compile_model(path, "x86-vnni", config=FLOAT)


def read_data(path: Path) -> None:
    """Read all samples of a file or folder."""
    for _ in load_data(path, [IMAGE]).batches():
        pass


def read_artifact(path: Path) -> None:
    """Load a .qcm file, without its native code."""
    contents = artifact.load(path)
    assert isinstance(contents.integer_graph, ir.Model)


def read_config(path: Path) -> None:
    """Read a config file."""
    CompileConfig.from_toml(path)


KINDS: dict[str, Callable[[Path], None]] = {
    "model": read_model,
    "compile": compile_float,
    "data": read_data,
    "artifact": read_artifact,
    "config": read_config,
}


def main() -> int:
    """Answer until stdin ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    warnings.simplefilter("ignore")
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    read_nothing()
    print(json.dumps(["ready", ""]), file=answers, flush=True)
    for line in sys.stdin:
        kind, path = line.rstrip("\n").split(" ", 1)
        print(json.dumps(outcome(KINDS[kind], Path(path))), file=answers, flush=True)
    return 0


def read_nothing() -> None:
    """Import what is imported on first use, so that no mutant pays for it."""
    compile_model(
        graph("g (float[4] x) => (float[4] y) { y = Neg(x) }"), "x86-vnni", config=FLOAT
    )


def outcome(read: Callable[[Path], None], path: Path) -> tuple[str, str]:
    """Return what came of one mutant."""
    try:
        read(path)
    except CompileError as error:
        lines = str(error).splitlines()
        if len(lines) > 2 or not lines[0]:
            return "fault", f"not one line and a hint: {error}"
        return "refused", str(error)
    except BaseException:
        return "fault", traceback.format_exc()[-1500:]
    return "read", ""


if __name__ == "__main__":
    sys.exit(main())
