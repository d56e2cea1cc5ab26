"""Build a Relax module of flat-buffer kernels into a shared library."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tvm
from tvm import relax

from qcompile.errors import CompileError

LINKER = "g++"


def pipeline() -> Any:
    """Return the passes from call_tir to virtual-machine calls over statically planned memory.

    Relax's default pipeline expects schedulable blocks in every function; the templates are
    written as final loops and have none, so only the lowering steps are named here.
    """
    step = relax.transform
    return tvm.transform.Sequential(
        [
            step.ToNonDataflow(),
            step.RemovePurityChecking(),
            step.CallTIRRewrite(),
            step.StaticPlanBlockMemory(),
            step.LowerAllocTensor(),
            step.KillAfterLastUse(),
            step.LowerRuntimeBuiltin(),
            step.ComputePrimValue(),
            step.VMShapeLower(),
            step.AttachGlobalSymbol(),
        ]
    )


def build_library(module: Any, tvm_target: Mapping[str, Any]) -> bytes:
    """Return the bytes of the shared library; the same module gives the same bytes.

    Raises:
        CompileError: The system has no C++ linker.
    """
    if shutil.which(LINKER) is None:
        raise CompileError(
            f"{LINKER} is needed to link the library and is not installed",
            where="build",
            hint=f"install it, e.g. apt-get install {LINKER}",
        )
    target = tvm.target.Target(dict(tvm_target))
    executable = relax.build(module, target=target, relax_pipeline=pipeline())
    with tempfile.TemporaryDirectory(prefix="qcompile-") as folder:
        path = Path(folder) / "library.so"
        executable.export_library(str(path))
        return path.read_bytes()
