"""samples/cpp_runtime: the library of an artifact in a C++ program, here and on a board."""

from __future__ import annotations

import os
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest

from qcompile.compiler import compile_model
from qcompile.host import host_arch, host_features
from qcompile.targets import fitting
from tests.nets import NETS, net, samples
from tests.targets.boards import BOARD, LINKER, needs_board
from tests.targets.servers import ROOT

SAMPLE = ROOT / "samples" / "cpp_runtime"
HERE = [target.name for target in fitting(host_arch(), host_features())][:1]
SECONDS = 120


def build(program: Path, **variables: str) -> None:
    subprocess.run(
        ["bash", str(SAMPLE / "build.sh"), str(program)],
        env={**os.environ, **variables},
        check=True,
        timeout=SECONDS,
    )


def answers(command: list[str], target: str, folder: Path) -> None:
    """Assert that the program answers to the golden input as the oracle does."""
    model = net(NETS["pools and a classifier"])
    compiled = compile_model(model, target, calibration=samples(model, 4))
    compiled.save(folder / "model.qcm")
    with zipfile.ZipFile(folder / "model.qcm") as archive:
        archive.extract("library.so", folder)
    np.asarray(compiled.golden.inputs["x"], np.float32).tofile(folder / "input.bin")
    files = [str(folder / name) for name in ("library.so", "input.bin", "output.bin")]
    subprocess.run([*command, *files], check=True, timeout=SECONDS)
    got = np.fromfile(folder / "output.bin", np.float32)
    expected = np.asarray(compiled.golden.outputs["y"]).reshape(-1)
    np.testing.assert_array_equal(got, expected, strict=True)


@pytest.mark.parametrize("target", HERE)
def test_here(target: str, tmp_path: Path) -> None:
    program = tmp_path / "cpp_runtime"
    build(program)
    answers([str(program)], target, tmp_path)
    absent = [str(program), str(tmp_path / "no.so"), str(tmp_path / "input.bin"), "out"]
    done = subprocess.run(absent, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("cpp_runtime: error: ")


@needs_board
def test_on_a_board(tmp_path: Path) -> None:
    program = tmp_path / "cpp_runtime"
    build(program, CXX=LINKER)
    sysroot = BOARD / "sysroot"
    libraries = [str(sysroot / each / "aarch64-linux-gnu") for each in ("usr/lib", "lib")]
    emulator = ["qemu-aarch64", "-cpu", "neoverse-n1", "-L", str(sysroot)]
    path = ["-E", f"LD_LIBRARY_PATH={':'.join(libraries)}"]
    answers([*emulator, *path, str(program)], "arm-dotprod", tmp_path)
