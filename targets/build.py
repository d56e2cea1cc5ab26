"""Build a Relax module of flat-buffer kernels into a shared library."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tvm
from tvm import relax

from qcompile.targets.linker import linker


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
        CompileError: There is no linker for the target.
    """
    link = linker(tvm_target["mtriple"])
    target = tvm.target.Target(dict(tvm_target))
    executable = relax.build(module, target=target, relax_pipeline=pipeline())
    with tempfile.TemporaryDirectory(prefix="qcompile-") as folder:
        path = Path(folder) / "library.so"
        executable.export_library(str(path), fcompile=link)
        return path.read_bytes()
