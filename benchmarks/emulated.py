"""Count the instructions that a runtime executes for one inference, on an emulated ARM CPU."""

from __future__ import annotations

import bisect
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmark_model import Sample
from packages import CACHE
from qcompile.errors import CompileError

HERE = Path(__file__).parent
PYTHON = HERE.parent / "samples" / "emulated_board" / "python.sh"
PLUGIN = HERE / "count_instructions.c"
WORKER = HERE / "emulated_worker.py"
CROSS = "aarch64-linux-gnu-"

CPU = "neoverse-n1"
FEATURES = (
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc"
)
CPU_FILES = {
    "proc/cpuinfo": (
        f"processor\t: 0\nBogoMIPS\t: 100.00\nFeatures\t: {FEATURES} dcpop asimddp ssbs\n"
        "CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x3\n"
        "CPU part\t: 0xd0c\nCPU revision\t: 1\n\n"
    ),
    **dict.fromkeys(
        (f"sys/devices/system/cpu/{name}" for name in ("possible", "present", "online")), "0\n"
    ),
}
"""What Linux says on a Neoverse N1 with one core.

The emulator passes through what this machine's Linux says of an x86-64 CPU; onnxruntime then
dies of a null pointer, and XNNPACK would not know its CPU.
"""

RUNTIMES = ("ai-edge-litert==2.3.0", "onnxruntime==1.32.0", "flatbuffers==25.12.19")
RUNS = (2, 6)
"""Runs up to the second mark, and from there to the third; their difference is counted."""

SECONDS = 600


@dataclass(frozen=True)
class Count:
    """Instructions of one inference.

    Attributes:
        total: All that were executed.
        mnemonics: By mnemonic.
        places: By library and, where its symbols tell, by function.
        output: What the last inference gave.
    """

    total: float
    mnemonics: Mapping[str, float]
    places: Mapping[tuple[str, str], float]
    output: npt.NDArray[np.generic]

    def share(self, pattern: str) -> float:
        """Return the share of the instructions whose mnemonic matches."""
        matching = (n for name, n in self.mnemonics.items() if re.fullmatch(pattern, name))
        return sum(matching) / self.total


def count(runtime: str, model: Path, inputs: Sample) -> Count:
    """Run a model on one thread of the emulated CPU and count.

    Raises:
        CompileError: A tool is missing, or the runtime fails there.
    """
    with tempfile.TemporaryDirectory(prefix="qcompile-") as name:
        folder = Path(name)
        np.savez(folder / "inputs.npz", **inputs)  # type: ignore[arg-type]
        arguments = [site(), runtime, model, folder / "inputs.npz", folder / "outputs.npz"]
        environment = {
            **os.environ,
            "QCOMPILE_BOARD": str(board()),
            "QCOMPILE_BOARD_CPU": CPU,
            "QEMU_PLUGIN": f"file={plugin()},out={folder / 'counts'}",
            "QCOMPILE_THREADS": "1",
            "OMP_NUM_THREADS": "1",
        }
        command = ["bash", PYTHON, WORKER, *arguments, *RUNS]
        maps = _called([str(each) for each in command], environment, where=runtime)
        with np.load(folder / "outputs.npz") as arrays:
            output = arrays["output"]
        executed, code = _executed(folder / "counts")
        return _summed(executed, code, maps, output)


Code = Mapping[int, tuple[int, list[str]]]
"""The address and the instruction words of every block, by its number."""


def _executed(path: Path) -> tuple[dict[int, float], Code]:
    """Return how often each block ran in one inference, and each block's code."""
    code: dict[int, tuple[int, list[str]]] = {}
    marks: list[Counter[int]] = []
    with path.open(encoding="ascii") as lines:
        for line in lines:
            if line == "mark\n":
                marks.append(Counter())
                continue
            block, times, address, *words = line.split()
            marks[-1][int(block)] = int(times)
            code[int(block)] = (int(address, 16), words)
    first, second, third = marks
    runs = RUNS[1] - RUNS[0]
    inference = {
        block: (third[block] - 2 * second[block] + first[block]) / runs for block in third
    }
    return {block: times for block, times in inference.items() if times}, code


def _summed(
    executed: Mapping[int, float], code: Code, maps: str, output: npt.NDArray[np.generic]
) -> Count:
    names = _mnemonics(sorted({word for block in executed for word in code[block][1]}))
    libraries = _Libraries(maps)
    mnemonics: dict[str, float] = defaultdict(float)
    places: dict[tuple[str, str], float] = defaultdict(float)
    for block, times in executed.items():
        address, words = code[block]
        places[libraries.place(address)] += times * len(words)
        for word in words:
            mnemonics[names[word]] += times
    return Count(sum(places.values()), mnemonics, places, output)


def _mnemonics(words: list[str]) -> dict[str, str]:
    """Disassemble instruction words, each for itself."""
    with tempfile.TemporaryDirectory(prefix="qcompile-") as folder:
        path = Path(folder) / "code"
        path.write_bytes(b"".join(int(word, 16).to_bytes(4, "little") for word in words))
        command = [f"{CROSS}objdump", "-D", "-b", "binary", "-m", "aarch64", "-z", str(path)]
        text = _called(command, None, where="objdump")
    lines = re.findall(r"^ *[0-9a-f]+:\t([0-9a-f]{8}) *\t(\S+)", text, re.MULTILINE)
    return {word: name.split(".")[0] for word, name in lines}


class _Libraries:
    """Finds the function that an address belongs to."""

    def __init__(self, maps: str) -> None:
        self._ranges: list[tuple[int, int, str]] = []
        bases: dict[str, int] = {}
        for line in maps.splitlines():
            if match := re.match(r"([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ \S+ +(/.*)", line):
                start, end, path = int(match[1], 16), int(match[2], 16), match[3]
                bases.setdefault(path, start)
                self._ranges.append((start, end, path))
        self._bases = bases

    def place(self, address: int) -> tuple[str, str]:
        """Return the names of the library and of the function."""
        for start, end, path in self._ranges:
            if start <= address < end:
                addresses, names = _symbols(path)
                found = bisect.bisect_right(addresses, address - self._bases[path]) - 1
                return Path(path).name, names[found] if found >= 0 else ""
        return "", ""


@cache
def _symbols(path: str) -> tuple[list[int], list[str]]:
    """Return the addresses of a library's functions, in order, and their names."""
    command = [f"{CROSS}nm", "--defined-only", "--numeric-sort", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.findall(r"^([0-9a-f]+) [tTwW] (\S+)$", done.stdout, re.MULTILINE)
    return [int(address, 16) for address, _ in found], [name for _, name in found]


@cache
def plugin() -> Path:
    """Build the emulator's plugin and return it."""
    CACHE.mkdir(exist_ok=True)
    path = CACHE / "count_instructions.so"
    command = [
        "gcc",
        "-O2",
        "-Wall",
        "-Werror",
        "-shared",
        "-fPIC",
        str(PLUGIN),
        "-o",
        str(path),
    ]
    _called(command, None, where=PLUGIN.name)
    return path


@cache
def board() -> Path:
    """Return a copy of the emulated board, by links, whose Linux tells of a Neoverse N1."""
    common = PYTHON.with_name("common.sh")
    shell = f"source '{common}' && echo \"$board\""
    original = Path(_called(["bash", "-c", shell], None, where=common.name).strip())
    if not (original / "complete").is_file():
        raise CompileError(
            "the emulated board is not set up",
            where=str(original),
            hint="bash samples/emulated_board/setup.sh",
        )
    copy = CACHE / "board"
    for source in (original / "site", *(original / "sysroot").iterdir()):
        link = copy / source.relative_to(original)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(source)
    for name, text in CPU_FILES.items():
        path = copy / "sysroot" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="ascii")
    return copy


@cache
def site() -> Path:
    """Return a folder with the rivals for aarch64, fetched with pip if it is not there."""
    folder = CACHE / "aarch64"
    complete = folder / "complete"
    if complete.is_file() and complete.read_text(encoding="utf-8") == str(RUNTIMES):
        return folder
    with tempfile.TemporaryDirectory(prefix="qcompile-") as wheels:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += [
            "--only-binary=:all:",
            "--implementation",
            "cp",
            "--python-version",
            "3.11",
        ]
        for glibc in ("2_28", "2_27", "2_17"):
            command += ["--platform", f"manylinux_{glibc}_aarch64"]
        _called([*command, "--dest", wheels, *RUNTIMES], None, where="pip download")
        for wheel in Path(wheels).iterdir():
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(folder)
    complete.write_text(str(RUNTIMES), encoding="utf-8")
    return folder


def _called(command: list[str], environment: Mapping[str, str] | None, *, where: str) -> str:
    try:
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except FileNotFoundError as error:
        raise CompileError(f"{command[0]} is not installed", where=where) from error
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise CompileError(reason, where=where)
    return done.stdout
