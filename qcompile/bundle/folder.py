"""Write a folder whole or not at all; over an earlier export, but over nothing else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from qcompile.bundle.c_source import MARK
from qcompile.errors import CompileError

FILES = frozenset(
    {"CMakeLists.txt", "README.txt", "golden.h", "kernels.o", "main.c", "model.c", "model.h"}
    | {"weights.c"}
)
BUILT = frozenset({"build", "model_check"})
"""What the bundle's own README names for its products: they go with an earlier export."""


def check_replaceable(path: Path) -> None:
    """Refuse a folder that could not be written, or whose files are not an earlier export.

    Raises:
        CompileError: Says why.
    """
    path = path.resolve()
    if not path.parent.is_dir():
        raise CompileError(
            f"cannot write: no such folder {str(path.parent)!r}",
            where=str(path),
            hint=f"create it: mkdir -p {path.parent}",
        )
    if path.exists() and not path.is_dir():
        raise CompileError(
            "cannot write: it is not a folder", where=str(path), hint="name a folder with -o"
        )
    found = {each.name for each in path.iterdir()} if path.exists() else set()
    foreign = sorted(found - FILES - BUILT)
    if found and not foreign and not _is_marked(path / "model.h"):
        foreign = sorted(found)
    if foreign:
        more = ", ..." if len(foreign) > 1 else ""
        raise CompileError(
            f"holds files that are not of an export: {foreign[0]}{more}",
            where=str(path),
            hint="name a new folder with -o",
        )
    try:
        probe = _beside(path, "part")
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        raise _refused(path, error) from error


def write_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """Write the files into a folder beside the path, then rename: no reader sees half of it.

    Raises:
        CompileError: It cannot be written; what was there before is untouched.
    """
    check_replaceable(path)
    path = path.resolve()
    part, old = _beside(path, "part"), _beside(path, "old")
    try:
        part.mkdir()
        for name, data in files.items():
            with (part / name).open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        if path.exists():
            path.rename(old)
        part.rename(path)
    except OSError as error:
        if old.exists() and not path.exists():
            old.rename(path)
        raise _refused(path, error) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _is_marked(header: Path) -> bool:
    if not header.is_file():
        return False
    with header.open("rb") as file:
        return file.read(len(MARK)) == MARK.encode()


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.{suffix}")


def _refused(path: Path, error: OSError) -> CompileError:
    return CompileError(
        f"cannot write: {error.strerror or error}",
        where=str(path),
        hint="choose another place with -o",
    )
