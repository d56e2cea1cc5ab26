"""Targets, one device family a file; what this package gives is imported on first use.

So a board that serves its CPU (`qcompile.targets.devices.server`) needs TVM's runtime and
NumPy, and neither onnx nor the compiler.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qcompile.targets.devices.remote import open_device
    from qcompile.targets.registry import NATIVE, TARGETS, find_target, fitting, native

__all__ = ["NATIVE", "TARGETS", "find_target", "fitting", "native", "open_device"]

_LAZY = dict.fromkeys(__all__, "qcompile.targets.registry")
_LAZY["open_device"] = "qcompile.targets.devices.remote"


def __getattr__(name: str) -> Any:
    """Import on first use."""
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
