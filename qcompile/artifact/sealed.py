"""Reading a .qcm file as far as a run needs it: its entries, its seal, its machine.

Nothing here imports ONNX, so that a program which only runs models stays small.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NoReturn

from qcompile.errors import CompileError

FORMAT = 2
"""Version of the artifact format; another one is refused."""

MANIFEST, LIBRARY, GRAPH, QDQ, GOLDEN = ENTRIES = (
    "manifest.json",
    "library.so",
    "graph.onnx",
    "qdq.onnx",
    "golden.npz",
)
SEAL = "qcompile artifact, manifest sha256 "
SHA256_DIGITS = 64
PIECE = 1 << 20
"""Bytes that are unpacked at once."""

RECOMPILE = "compile the model again"


def check_host(
    manifest: Mapping[str, Any], *, where: str, arch: str, features: Collection[str]
) -> None:
    """Refuse an artifact whose code this machine cannot run.

    Args:
        manifest: Of the artifact.
        where: The artifact's path, for the message.
        arch: This machine's architecture.
        features: This machine's instruction-set flags.

    Raises:
        CompileError: Another architecture, or missing instructions; says which.
    """
    hint = "compile for this machine: --target native"
    target = manifest["target"]
    if manifest["arch"] != arch:
        raise CompileError(
            f"compiled for {target} ({manifest['arch']}), this machine is {arch}",
            where=where,
            hint=hint,
        )
    missing = [name for name in manifest["features"] if name not in features]
    if missing:
        raise CompileError(
            f"compiled for {target}, this CPU lacks {', '.join(missing)}",
            where=where,
            hint=hint,
        )


def sha256(data: bytes) -> str:
    """Return the SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def read_sealed(path: Path, wanted: Collection[str] = ENTRIES) -> dict[str, bytes]:
    """Return the wanted entries, the manifest among them, which is what the seal says.

    The others are not checked here.

    Raises:
        CompileError: It is missing, truncated, tampered with, or not an artifact.
    """
    if path.is_dir():
        raise CompileError("is a directory", where=str(path), hint="give the .qcm file")
    if not path.is_file():
        raise CompileError("no such file", where=str(path), hint="check the path")
    try:
        with zipfile.ZipFile(path) as archive:
            if sorted(archive.namelist()) != sorted(ENTRIES):
                refuse(path, "not a qcompile artifact: its entries are others")
            contents = {name: archive.read(name) for name in wanted}
            seal = archive.comment
    except OSError as error:
        raise CompileError(f"cannot read: {error.strerror}", where=str(path)) from error
    except zipfile.BadZipFile as error:
        raise refusal(path, f"not an artifact, or truncated or damaged: {error}") from error
    except (zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise refusal(path, f"damaged: {error}") from error
    if not seal.startswith(SEAL.encode()) or len(seal) != len(SEAL) + SHA256_DIGITS:
        refuse(path, "not an artifact, or truncated or damaged: it has no whole seal")
    if seal != (SEAL + sha256(contents[MANIFEST])).encode():
        refuse(path, "manifest.json is not what was packed (its sha256 differs)")
    return contents


def unpack(path: Path, name: str, target: Path) -> str:
    """Write an entry to a file, a piece at a time, and return its sha256.

    Raises:
        CompileError: It cannot be read or written.
    """
    digest = hashlib.sha256()
    try:
        with (
            zipfile.ZipFile(path) as archive,
            archive.open(name) as source,
            target.open("wb") as file,
        ):
            while piece := source.read(PIECE):
                digest.update(piece)
                file.write(piece)
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise refusal(path, f"{name} cannot be unpacked: {error}") from error
    return digest.hexdigest()


def refusal(path: Path, reason: str) -> CompileError:
    """Return the error of an artifact that must be made again."""
    return CompileError(reason, where=str(path), hint=RECOMPILE)


def refuse(path: Path, reason: str) -> NoReturn:
    """Raise it."""
    raise refusal(path, reason)
