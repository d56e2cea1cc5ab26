"""Read files out of Debian packages: fetched once with apt-get, known by their SHA-256."""

from __future__ import annotations

import dataclasses
import io
import subprocess
import tarfile
import tempfile
from functools import cached_property
from pathlib import Path

from packages import CACHE, sha256
from qcompile.errors import CompileError
from qcompile.files import write_atomic

MAGIC = b"!<arch>\n"
HEADER = 60


@dataclasses.dataclass(frozen=True)
class DebianPackage:
    """One package of Debian; it is not installed.

    Attributes:
        name: The package.
        version: Its version.
        sha256: Its hash; another file under the same name is refused.
    """

    name: str
    version: str
    sha256: str

    def read(self, member: str) -> bytes:
        """Return one file, by its path from the root."""
        with tarfile.open(fileobj=io.BytesIO(self._files)) as archive:
            file = archive.extractfile(f"./{member}")
            assert file is not None, member
            return file.read()

    @cached_property
    def _files(self) -> bytes:
        """The archive of files: the package is an ar archive that holds it, data.tar.*."""
        data = self._package.read_bytes()
        place = len(MAGIC)
        while place < len(data):
            header = data[place : place + HEADER]
            size = int(header[48:58])
            if header.startswith(b"data.tar"):
                return data[place + HEADER : place + HEADER + size]
            place += HEADER + size + size % 2
        raise CompileError("it holds no files", where=f"{self.name}={self.version}")

    @cached_property
    def _package(self) -> Path:
        path = CACHE / "debian" / f"{self.name}-{self.version}.deb"
        if path.is_file() and sha256(path.read_bytes()) == self.sha256:
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, self._download())
        return path

    def _download(self) -> bytes:
        requirement = f"{self.name}={self.version}"
        with tempfile.TemporaryDirectory(prefix="qcompile-") as folder:
            command = ["apt-get", "download", "--quiet", requirement]
            try:
                done = subprocess.run(
                    command, cwd=folder, capture_output=True, text=True, check=False
                )
            except FileNotFoundError as error:
                raise CompileError(
                    "cannot be fetched: there is no apt-get here", where=requirement
                ) from error
            if done.returncode:
                reason = (done.stderr.strip().splitlines() or ["apt-get failed"])[-1]
                raise CompileError(f"cannot be fetched: {reason}", where=requirement)
            (file,) = Path(folder).iterdir()
            data = file.read_bytes()
        if sha256(data) != self.sha256:
            raise CompileError(
                f"its SHA-256 is {sha256(data)}, not {self.sha256}",
                where=requirement,
                hint="another file than was measured with: do not use it",
            )
        return data
