"""Which C compiler builds and links a library: this machine's own, or a cross compiler."""

from __future__ import annotations

import shutil

from qcompile.errors import CompileError
from qcompile.host import host_arch

NATIVE = "gcc"
PACKAGE = "g++"
"""Debian's; it brings the C compiler along."""


def linker(triple: str) -> str:
    """Return the command that builds libraries for a machine.

    Args:
        triple: The machine, e.g. "aarch64-linux-gnu".

    Raises:
        CompileError: It is not installed.
    """
    own = triple.split("-")[0] == host_arch()
    command = NATIVE if own else f"{triple}-{NATIVE}"
    if shutil.which(command) is None:
        package = PACKAGE if own else f"{PACKAGE}-{triple.replace('_', '-')}"
        raise CompileError(
            f"{command} is needed to link the library and is not installed",
            where="build",
            hint=f"install it, e.g. apt-get install {package}",
        )
    return command
