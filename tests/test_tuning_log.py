"""The tuning log: whole lines count, whatever else is in the file; writers take turns."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qcompile.errors import CompileError
from qcompile.tuning_log import TAIL, Record, append, canonical, read

RECORD = Record(
    isa="an-isa",
    caches=(32768, 1048576),
    kernel="DenseConv",
    version="0123",
    shape=canonical({"x": {"n": 1, "c": 8}, "group": 1}),
    tile=(("pixels", 4), ("vectors", 2)),
    seconds=1e-5,
    untuned=(("pixels", 2), ("vectors", 2)),
    untuned_seconds=2e-5,
    candidates=8,
)
OTHER = dataclasses.replace(RECORD, kernel="DepthwiseConv")
LINE = json.dumps(RECORD.to_json()).encode() + b"\n"


def changed(**fields: object) -> bytes:
    return json.dumps({**RECORD.to_json(), **fields}).encode() + b"\n"


def test_what_is_appended_is_read(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    append(log, RECORD)
    append(log, OTHER)
    assert read(log) == (RECORD, OTHER)
    assert log.read_bytes().count(b"\n") == 2


FOREIGN = {
    "no JSON": b"not json\n",
    "bytes": b"\xff\xfe\x00\n",
    "empty": b"\n",
    "a list": b"[1, 2]\n",
    "a number": b"5\n",
    "deep": b"[" * 100_000 + b"\n",
    "another program's": b'{"i": [["[\\"llvm\\"]"]], "r": [[0.1], 0]}\n',
    "a later format": changed(format=2),
    "half of it": LINE[: len(LINE) // 2] + b"\n",
    "a tile of nothing": changed(tile={"pixels": 0}),
    "a tile of text": changed(tile={"pixels": "4"}),
    "a tile that is a list": changed(tile=[1, 2]),
    "a shape that is text": changed(shape="x"),
    "an instruction set that is a number": changed(isa=5),
    "a time that is text": changed(seconds="soon"),
    "caches that are a number": changed(caches=5),
}


@pytest.mark.parametrize("line", FOREIGN.values(), ids=FOREIGN)
def test_foreign_and_damaged_lines_are_left_out(line: bytes, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_bytes(LINE + line + LINE)
    assert read(log) == (RECORD, RECORD)


@pytest.mark.parametrize("size", [1, 10, len(LINE) - 1])
@pytest.mark.parametrize("before", [b"", LINE, LINE * (2 * TAIL // len(LINE))], ids=len)
def test_a_torn_last_line_is_ignored_and_replaced(
    size: int, before: bytes, tmp_path: Path
) -> None:
    log = tmp_path / "log.jsonl"
    log.write_bytes(before + LINE[:size])
    count = before.count(b"\n")
    assert read(log) == (RECORD,) * count
    append(log, OTHER)
    assert read(log) == (*(RECORD,) * count, OTHER)
    assert log.read_bytes().startswith(before + b'{"caches"')


def test_a_torn_line_longer_than_is_read_at_once(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_bytes(LINE + b"x" * (2 * TAIL))
    append(log, OTHER)
    assert read(log) == (RECORD, OTHER)


def test_a_missing_or_unwritable_log_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match="cannot read the tuning log: No such file"):
        read(tmp_path / "none.jsonl")
    with pytest.raises(CompileError, match="cannot write the tuning log: No such file"):
        append(tmp_path / "no folder" / "log.jsonl", RECORD)
    with pytest.raises(CompileError, match="cannot read the tuning log: Is a directory"):
        read(tmp_path)


def write_many(log: Path, name: str) -> None:
    for number in range(100):
        append(log, dataclasses.replace(RECORD, kernel=name, candidates=number + 1))


def test_two_processes_append(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_many, args=(log, name)) for name in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    found = read(log)
    for name in "ab":
        numbers = [record.candidates for record in found if record.kernel == name]
        assert numbers == list(range(1, 101))


def test_killed_while_it_writes(tmp_path: Path) -> None:
    """What was said to be on disk is there, and the next writer goes on behind it."""
    log = tmp_path / "log.jsonl"
    code = (
        "import dataclasses, sys, tests.test_tuning_log as t\nfrom pathlib import Path\n"
        "for n in range(1, 100000):\n"
        "    t.append(Path(sys.argv[1]), dataclasses.replace(t.RECORD, candidates=n))\n"
        "    print(n, flush=True)\n"
    )
    root = Path(__file__).resolve().parents[1]
    writer = subprocess.Popen(
        [sys.executable, "-c", code, str(log)], cwd=root, stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    writer.stdout.readline()
    time.sleep(0.1)
    os.kill(writer.pid, signal.SIGKILL)
    said = [int(line) for line in writer.stdout.read().split()]
    writer.wait()
    append(log, OTHER)
    *found, last = read(log)
    assert last == OTHER
    assert [record.candidates for record in found] == list(range(1, len(found) + 1))
    assert len(found) >= max(said)
