"""Kernels for another architecture: cross-compiled, linked with a small main, and emulated."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tvm
import tvm_ffi.libinfo

from qcompile.targets.arm_isa import DOTPROD, I8MM, NEON
from qcompile.targets.isa import Isa
from tests.targets.boards import REQUIRED

Array = npt.NDArray[Any]

MAIN = Path(__file__).with_name("kernel_main.c")
COMPILER = "aarch64-linux-gnu-gcc"
EMULATOR = "qemu-aarch64"
PACKAGES = {COMPILER: "gcc-aarch64-linux-gnu", EMULATOR: "qemu-user"}
KINDS = {"i": 0, "u": 1, "f": 2, "b": 6}
SECONDS = 120

CPUS = {NEON: "cortex-a72", DOTPROD: "neoverse-n1", I8MM: "max"}
"""The weakest emulated CPU of each set; what it lacks is an illegal instruction there."""


def missing() -> str | None:
    """Return why kernels cannot be emulated here, or None where they can."""
    absent = [package for tool, package in PACKAGES.items() if shutil.which(tool) is None]
    return f"apt-get install {' '.join(absent)}" if absent else None


READY = missing() is None
needs_emulator = pytest.mark.skipif(not READY and not REQUIRED, reason=str(missing()))
"""Skips a test where the tools are missing, unless QCOMPILE_REQUIRE_BOARD=1."""


def run(function: Any, isa: Isa, arrays: Sequence[Array], cpu: str | None = None) -> Array:
    """Return the last of a function's arrays after it ran on an emulated CPU."""
    return run_all(function, isa, arrays, cpu)[-1]


def run_all(
    function: Any, isa: Isa, arrays: Sequence[Array], cpu: str | None = None
) -> list[Array]:
    """Return all of a function's arrays after it ran on an emulated CPU."""
    sent = b"".join(
        np.array([KINDS[a.dtype.kind], a.itemsize * 8, a.size], np.int64).tobytes()
        + np.ascontiguousarray(a).tobytes()
        for a in arrays
    )
    with tempfile.TemporaryDirectory(prefix="qcompile-kernel-") as folder:
        program = Path(folder) / "kernel"
        linked = [COMPILER, "-static", str(_main()), str(_object(function, isa, folder))]
        subprocess.run([*linked, "-lm", "-o", str(program)], check=True, timeout=SECONDS)
        done = subprocess.run(
            [EMULATOR, "-cpu", cpu or CPUS[isa], str(program)],
            input=sent,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
    assert done.returncode == 0, (done.returncode, done.stderr.decode())
    ends = np.cumsum([array.nbytes for array in arrays])
    assert len(done.stdout) == ends[-1]
    return [
        np.frombuffer(done.stdout[end - array.nbytes : end], array.dtype)
        for array, end in zip(arrays, ends, strict=True)
    ]


def _object(function: Any, isa: Isa, folder: str) -> Path:
    named = function.with_attr("global_symbol", "kernel")
    path = Path(folder) / "kernel.o"
    built = tvm.compile(named, target=tvm.target.Target(dict(isa.tvm_target)))
    built.mod.write_to_file(str(path))
    return path


@cache
def _main() -> Path:
    """Return the compiled main; it stays until the process ends."""
    _KEPT.append(tempfile.TemporaryDirectory(prefix="qcompile-main-"))
    path = Path(_KEPT[-1].name) / "main.o"
    include = [f"-I{tvm_ffi.libinfo.find_include_path()}"]
    include.append(f"-I{tvm_ffi.libinfo.find_dlpack_include_path()}")
    subprocess.run(
        [COMPILER, "-O1", "-Wall", "-Werror", *include, "-c", str(MAIN), "-o", str(path)],
        check=True,
        timeout=SECONDS,
    )
    return path


_KEPT: list[tempfile.TemporaryDirectory[str]] = []
