"""Arrays in NumPy's .npy format, read without ever unpickling."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from qcompile.errors import CompileError

Array = npt.NDArray[np.generic]

DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError, OSError)
"""What reading a broken archive or array raises; a NotImplementedError is a RuntimeError."""


@dataclasses.dataclass(frozen=True)
class Stored:
    """What an array says of itself before it is read.

    Attributes:
        shape: Its shape, the axis of samples included.
        dtype: Its element type.
        fortran: Whether its first axis varies fastest.
        offset: Bytes before the first element.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    fortran: bool
    offset: int

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return self.offset + math.prod(self.shape) * self.dtype.itemsize


def read_header(stream: IO[bytes], where: str) -> Stored:
    """Read the header of the .npy format, version 1 or 2.

    Raises:
        CompileError: Not that format, or elements that only unpickling gives.
    """
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    try:
        version = np.lib.format.read_magic(stream)
        shape, fortran, dtype = readers[version](stream)
    except Exception as error:  # the header is Python text, and NumPy raises what parsing does
        raise CompileError("not an array in NumPy's .npy format", where=where) from error
    if dtype.hasobject:
        raise CompileError(
            "holds pickled Python objects, which are never loaded",
            where=where,
            hint="save it with a numeric dtype: array.astype('float32')",
        )
    offset = stream.tell()
    return Stored(tuple(shape), dtype, fortran, offset)


def read_npy(path: Path) -> Array:
    """Read one .npy file."""
    with path.open("rb") as stream:
        stored = read_header(stream, str(path))
        check_size(stored, path.stat().st_size, str(path))
        if stored.fortran:
            return read_elements(stream, stored.shape[::-1], stored.dtype).T
        return read_elements(stream, stored.shape, stored.dtype)


def read_elements(
    stream: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[np.generic]
) -> Array:
    """Read the next elements; EOFError where there are not as many."""
    size = math.prod(shape) * dtype.itemsize
    data = stream.read(size)
    if len(data) != size:
        raise EOFError(f"{len(data)} of {size} bytes")
    return np.frombuffer(data, dtype).reshape(shape)


def check_size(stored: Stored, size: int, where: str) -> None:
    """Refuse a file of another size than its header leads to."""
    if stored.size != size:
        raise CompileError(
            f"has {size} bytes where its shape {list(stored.shape)} takes {stored.size}",
            where=where,
            hint="the file is damaged: write it again",
        )


@contextlib.contextmanager
def naming_damage(path: Path) -> Iterator[None]:
    """Turn what reading a broken file raises into an error that names it."""
    try:
        yield
    except DAMAGED as error:
        reason = (str(error).splitlines() or ["it ends too early"])[0]
        raise CompileError(
            f"cannot be read: {reason}",
            where=str(path),
            hint="the file is damaged or of another kind: write it again",
        ) from error
