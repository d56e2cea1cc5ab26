"""Files stay whole whatever cuts a run short: a full disk, Ctrl-C, kill -9, a second run."""

from __future__ import annotations

import random
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from qcompile.errors import CompileError
from qcompile.files import write_atomic
from tests.graphs import graph

SIZE = 1 << 20
WRITER = """
import sys
from pathlib import Path
from qcompile.files import write_atomic
print("ready", flush=True)
for number in range(10**6):
    write_atomic(Path(sys.argv[1]), bytes([number % 256]) * int(sys.argv[2]))
"""
MODEL = "g (float[1,4] x) => (float[1,4] y) { a = Relu(x)  y = Neg(a) }"


def is_whole(path: Path) -> bool:
    """Whether a file is one of those that WRITER writes."""
    data = path.read_bytes()
    return len(data) == SIZE and len(set(data)) == 1


def test_a_full_disk(tmp_path: Path) -> None:
    path = tmp_path / "out.qcm"
    path.write_bytes(b"what was there")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))  # as a disk with 1 kB left
    try:
        with pytest.raises(CompileError, match="cannot write: File too large"):
            write_atomic(path, b"x" * SIZE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == b"what was there"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("times", [4, pytest.param(200, marks=pytest.mark.slow)])
def test_kill_9_at_any_moment(times: int, tmp_path: Path) -> None:
    path = tmp_path / "out.qcm"
    path.write_bytes(b"\0" * SIZE)
    rng = random.Random(0)
    for _ in range(times):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(SIZE)], stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(rng.random() * 0.1)
        child.kill()
        child.communicate()
        assert is_whole(path)
    write_atomic(path, b"\0" * SIZE)
    assert list(tmp_path.iterdir()) == [path]


def test_threads_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "out.qcm"
    errors: list[BaseException] = []

    def write(number: int) -> None:
        try:
            for _ in range(20):
                write_atomic(path, bytes([number]) * SIZE)
                assert is_whole(path)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert list(tmp_path.iterdir()) == [path]


def command(folder: Path) -> list[str]:
    """Return a compile in that folder."""
    onnx.save(ir.to_proto(graph(MODEL)), folder / "m.onnx")
    np.savez(folder / "c.npz", allow_pickle=False, x=np.ones((4, 4), np.float32))
    words = "compile m.onnx --target native --calib c.npz -o out.qcm --json"
    return [sys.executable, "-m", "qcompile", *words.split()]


@pytest.mark.parametrize("times", [2, pytest.param(30, marks=pytest.mark.slow)])
def test_ctrl_c_at_any_moment(times: int, tmp_path: Path) -> None:
    argv, rng = command(tmp_path), random.Random(0)
    there = {path.name for path in tmp_path.iterdir()}
    for _ in range(times):
        child = subprocess.Popen(
            argv, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        time.sleep(0.3 + rng.random() * 3)
        child.send_signal(signal.SIGINT)
        _, stderr = child.communicate()
        assert child.returncode in (0, 130), stderr
        assert b"Traceback" not in stderr
        left = {path.name for path in tmp_path.iterdir()} - there
        assert left == ({"out.qcm"} if child.returncode == 0 else set())
        (tmp_path / "out.qcm").unlink(missing_ok=True)


def test_two_compiles_into_one_file(tmp_path: Path) -> None:
    argv = command(tmp_path)
    there = {path.name for path in tmp_path.iterdir()}
    children = [
        subprocess.Popen(argv, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    for child in children:
        _, stderr = child.communicate()
        assert child.returncode == 0, stderr
    from qcompile import artifact

    artifact.load(tmp_path / "out.qcm")
    assert {path.name for path in tmp_path.iterdir()} - there == {"out.qcm"}
