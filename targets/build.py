"""Build a program of kernels into a shared library: C ABI, weights and threads included."""

from __future__ import annotations

import importlib.resources
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from qcompile.bundle.c_source import Source
from qcompile.bundle.c_text import c_string
from qcompile.bundle.memory import aligned
from qcompile.errors import CompileError
from qcompile.importer.opset import one_line
from qcompile.targets.linker import linker
from qcompile.tensors import Tensor, interface_text

FLAGS = ("-shared", "-fPIC", "-O2", "-pthread", "-Wl,--build-id=none", "-Wl,-z,noexecstack")
OWN = ("parallel.c", "remote.c")
"""Files of qcompile/targets/native: the threads, and the entry for TVM's RPC."""

WEIGHTS = """\
.section .rodata
.balign 64
.global model_weights
model_weights:
.incbin "weights.bin"
.byte 0
.section .note.GNU-stack,"",%progbits
"""


def build_library(source: Source, triple: str) -> bytes:
    """Return the bytes of the shared library; the same source gives the same bytes.

    It has `model_run` and `model_threads`, as the C bundle and `parallel.c` define them,
    `model_interface`, a text (`qcompile.tensors.interface_text`), and
    `model_profile`, which times each of `model_calls` kernel calls.

    Args:
        source: The program, its memory plan, its inputs and outputs.
        triple: The machine, e.g. "aarch64-linux-gnu".

    Raises:
        CompileError: There is no C compiler for the target, or it does not take the code.
    """
    compiler = linker(triple)
    files = library_files(source)
    with tempfile.TemporaryDirectory(prefix="qcompile-") as folder:
        for name, data in files.items():
            (Path(folder) / name).write_bytes(data)
        inputs = [name for name in files if name.endswith((".c", ".S", ".o"))]
        command = [compiler, *FLAGS, *inputs, "-o", "library.so"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise CompileError(
                f"{compiler} failed: {one_line(RuntimeError(done.stderr))}",
                where="build",
                hint="is there room in the temporary folder, and does the compiler work?",
            )
        return (Path(folder) / "library.so").read_bytes()


def library_files(source: Source) -> Mapping[str, bytes]:
    """Return what the library is made of, by file name."""
    # As a folder, not as a module: an imported one would hide the function `targets.native`.
    native = importlib.resources.files("qcompile.targets") / "native"
    constants, faster = source.program.constants.values(), source.program.faster
    return {
        "model.h": source.header().encode(),
        "model.c": (source.model() + source.profile()).encode(),
        "interface.c": interface(source).encode(),
        **{name: native.joinpath(name).read_bytes() for name in OWN},
        "weights.S": WEIGHTS.encode(),
        "weights.bin": b"".join(data.ljust(aligned(len(data)), b"\0") for data in constants),
        "kernels.o": source.program.object_code,
        **({"faster.o": faster.object_code} if faster is not None else {}),
    }


def interface(source: Source) -> str:
    """Return the C file that says what the library takes and gives."""
    tensors = (list(map(Tensor.of, values)) for values in (source.inputs, source.outputs))
    return f"const char model_interface[] = {c_string(interface_text(*tensors))};\n"
