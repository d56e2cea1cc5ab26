"""Which C++ compiler links a library: this machine's own, or a cross compiler."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

from tvm.support import cc

from qcompile.errors import CompileError
from qcompile.host import host_arch

NATIVE = "g++"


def linker(triple: str) -> Callable[..., Any]:
    """Return what links libraries for a machine, as `export_library` takes it.

    Args:
        triple: The machine, e.g. "aarch64-linux-gnu".

    Raises:
        CompileError: It is not installed.
    """
    own = triple.split("-")[0] == host_arch()
    command = NATIVE if own else f"{triple}-{NATIVE}"
    if shutil.which(command) is None:
        package = NATIVE if own else f"{NATIVE}-{triple.replace('_', '-')}"
        raise CompileError(
            f"{command} is needed to link the library and is not installed",
            where="build",
            hint=f"install it, e.g. apt-get install {package}",
        )
    link: Callable[..., Any] = cc.create_shared if own else cc.cross_compiler(command)
    return link
