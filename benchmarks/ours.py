"""Our artifact of a benchmark model, compiled once for a state of the source tree."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

import qcompile
from benchmark_model import BenchmarkModel
from packages import CACHE

ROOT = Path(__file__).parents[1]
SOURCES = ("qcompile", "passes", "targets")
ARTIFACTS = CACHE / "artifacts"
KEPT = 4
"""Artifacts of a model that stay, newest first: another process may be measuring one."""


def compiled(model: BenchmarkModel, target: str) -> Path:
    """Return the artifact; compiled again where the compiler or the model has changed.

    The recipe is the default. An artifact runs on any number of threads.
    """
    key = hashlib.sha256(f"{source_digest()} {target} ".encode())
    key.update(model.path().read_bytes())
    path = ARTIFACTS / f"{model.name}.{key.hexdigest()[:16]}.qcm"
    if path.is_file():
        return path
    made = qcompile.compile(model.path(), target, calibration=model.calibration_samples())
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    made.save(path)
    files = sorted(
        ARTIFACTS.glob(f"{model.name}.*.qcm"), key=lambda file: file.stat().st_mtime
    )
    for older in files[:-KEPT]:
        older.unlink(missing_ok=True)
    return path


@functools.cache
def source_digest() -> str:
    """Return the SHA-256 of all that an artifact could depend on, as it was at first."""
    digest = hashlib.sha256()
    for folder in SOURCES:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(f"{path.relative_to(ROOT)} ".encode() + path.read_bytes())
    return digest.hexdigest()
