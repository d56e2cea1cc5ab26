"""Write a file whole or not at all, and know before long work whether it can be written."""

from __future__ import annotations

import os
import threading
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

    Where the file system has files without a name, the bytes get one when they are whole, so
    that a run that is killed leaves nothing.

    Raises:
        CompileError: The path cannot be written; what was there before is untouched.
    """
    check_writable(path)
    path = path.resolve()
    part = _beside(path)
    try:
        nameless = _nameless(path.parent)
        with part.open("xb") if nameless is None else os.fdopen(nameless, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            if nameless is not None:
                # With a folder given, if only for show, Python follows the link in /proc.
                os.link(f"/proc/self/fd/{nameless}", part, src_dir_fd=nameless)
        os.replace(part, path)
    except OSError as error:
        raise _refused(path, error) from error
    finally:
        part.unlink(missing_ok=True)


def _is_same(path: Path, source: Path) -> bool:
    """Whether both are one file, under whatever names."""
    return path.exists() and source.exists() and path.samefile(source)


def _beside(path: Path) -> Path:
    """Return a name that no other process or thread takes."""
    return path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")


def _nameless(folder: Path) -> int | None:
    """Return a new file without a name, open to write; None where there is no such."""
    if not hasattr(os, "O_TMPFILE") or not Path("/proc/self/fd").is_dir():
        return None
    try:
        return os.open(folder, os.O_TMPFILE | os.O_WRONLY, 0o666)
    except OSError:
        return None


def _refused(path: Path, error: OSError) -> CompileError:
    return CompileError(
        f"cannot write: {error.strerror or error}",
        where=str(path),
        hint="choose another place with -o",
    )
