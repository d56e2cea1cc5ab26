"""Write a file whole or not at all, and know before long work whether it can be written."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from qcompile.errors import CompileError


def check_writable(path: Path) -> None:
    """Refuse an output path that could not be written, before any work is done for it.

    A file is really created beside it and removed: permission bits alone say nothing on a
    read-only file system or to root.

    Raises:
        CompileError: The folder is missing or takes no file, or the path is not a file.
    """
    if str(path) == "-":
        raise CompileError(
            "outputs are not written to stdout", where="-o -", hint="name a file"
        )
    path = path.resolve()
    if path.exists() and not path.is_file():
        raise CompileError(
            "cannot write: it is not a regular file", where=str(path), hint="name a file"
        )
    if not path.parent.is_dir():
        raise CompileError(
            f"cannot write: no such folder {str(path.parent)!r}",
            where=str(path),
            hint=f"create it: mkdir -p {path.parent}",
        )
    try:
        probe = _beside(path)
        probe.open("xb").close()
        probe.unlink()
    except OSError as error:
        raise _refused(path, error) from error


def check_output(path: Path, sources: Iterable[Path | None]) -> None:
    """Refuse an output path that is an input or cannot be written, before any work.

    Args:
        path: Where the output goes.
        sources: The files that the command reads; None for one that was not given.

    Raises:
        CompileError: Writing would destroy an input, or is not possible.
    """
    check_writable(path)
    for source in sources:
        if source is not None and _is_same(path, source):
            raise CompileError(
                "it is an input of this command, and writing would destroy it",
                where=str(path),
                hint="choose another place with -o",
            )


def write_atomic(path: Path, data: bytes) -> None:
    """Write the bytes beside the path, then rename: a reader never sees half a file.

    Raises:
        CompileError: The path cannot be written; what was there before is untouched.
    """
    check_writable(path)
    path = path.resolve()
    part = _beside(path)
    try:
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        raise _refused(path, error) from error
    finally:
        part.unlink(missing_ok=True)


def _is_same(path: Path, source: Path) -> bool:
    """Whether both are one file, under whatever names."""
    return path.exists() and source.exists() and path.samefile(source)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def _refused(path: Path, error: OSError) -> CompileError:
    return CompileError(
        f"cannot write: {error.strerror or error}",
        where=str(path),
        hint="choose another place with -o",
    )
