"""The tuning log: which tile sizes measured best, one JSON object a line.

A line is appended whole by one write and is on disk when `append` returns; processes take
turns by a lock on the file. Reading takes what is whole: a torn last line, lines of other
programs and damaged ones are left out, and the next line replaces a torn one.
"""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qcompile.errors import CompileError

FORMAT = 1
"""Of a line; another one is left out."""

TAIL = 1 << 16
"""Bytes that are read at once to find the end of the last whole line."""

Key = tuple[str, str, str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """The best tile sizes of one kernel on one machine.

    Attributes:
        isa: Name of the instruction set.
        caches: Bytes of the first- and second-level data cache; empty where unknown.
        kernel: Name of the template.
        version: Of the template's source.
        shape: What else the time hangs on, as canonical JSON.
        tile: The best tile's sizes by name.
        seconds: Its median time.
        untuned: The sizes that the cost model prefers.
        untuned_seconds: Their median time.
        candidates: How many were measured.
    """

    isa: str
    caches: tuple[int, ...]
    kernel: str
    version: str
    shape: str
    tile: tuple[tuple[str, int], ...]
    seconds: float
    untuned: tuple[tuple[str, int], ...]
    untuned_seconds: float
    candidates: int

    @property
    def key(self) -> Key:
        """What must be the same, on whatever machine, for the record to say anything."""
        return self.isa, self.kernel, self.version, self.shape

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "format": FORMAT,
            **dataclasses.asdict(self),
            "caches": list(self.caches),
            "shape": json.loads(self.shape),
            "tile": dict(self.tile),
            "untuned": dict(self.untuned),
        }

    @classmethod
    def from_json(cls, data: object) -> Record | None:
        """Return what plain data says; None where it is no record of this format."""
        if not isinstance(data, Mapping) or data.get("format") != FORMAT:
            return None
        try:
            record = cls(
                isa=_text(data["isa"]),
                caches=tuple(_size(each) for each in data["caches"]),
                kernel=_text(data["kernel"]),
                version=_text(data["version"]),
                shape=canonical(dict(data["shape"])),
                tile=_tile(data["tile"]),
                seconds=float(data["seconds"]),
                untuned=_tile(data["untuned"]),
                untuned_seconds=float(data["untuned_seconds"]),
                candidates=_size(data["candidates"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            return None
        return record


def canonical(shape: Mapping[str, Any]) -> str:
    """Return JSON in which equal data is equal text."""
    return json.dumps(shape, sort_keys=True, separators=(",", ":"), allow_nan=False)


def read(path: Path) -> tuple[Record, ...]:
    """Return the records of a log, in order; what is no whole line of it is left out.

    Raises:
        CompileError: There is no such file, or it cannot be read.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise CompileError(
            f"cannot read the tuning log: {error.strerror}",
            where=str(path),
            hint="make one: qcompile tune MODEL.onnx --target NAME --log FILE",
        ) from error
    records = []
    for line in lines[:-1]:
        try:
            record = Record.from_json(json.loads(line))
        except (ValueError, RecursionError):
            continue
        if record is not None:
            records.append(record)
    return tuple(records)


def append(path: Path, record: Record) -> None:
    """Add a record; it is on disk when this returns.

    Raises:
        CompileError: The log cannot be written; what was there is untouched.
    """
    line = json.dumps(record.to_json(), sort_keys=True).encode() + b"\n"
    try:
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            whole = _whole_bytes(file)
            os.ftruncate(file, whole)
            if os.write(file, line) != len(line):
                os.ftruncate(file, whole)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file)
        finally:
            os.close(file)
    except OSError as error:
        raise CompileError(
            f"cannot write the tuning log: {error.strerror}",
            where=str(path),
            hint="choose another place with --log",
        ) from error


def _whole_bytes(file: int) -> int:
    """Return where the last whole line ends."""
    end = os.fstat(file).st_size
    while end:
        start = max(0, end - TAIL)
        found = os.pread(file, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _size(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(value)
    return value


def _tile(value: Any) -> tuple[tuple[str, int], ...]:
    return tuple(sorted((_text(name), _size(size)) for name, size in value.items()))
