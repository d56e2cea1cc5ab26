"""qcompile: compile an ONNX model to exact integer kernels for a named target."""

from __future__ import annotations

TYPE_CHECKING = False
"""As in `typing`, which takes long enough to import for an interrupt to hit it there."""

if TYPE_CHECKING:
    from typing import Any

    from qcompile.artifact.loader import load
    from qcompile.compiler import compile_model as compile
    from qcompile.compiler import tune_model as tune
    from qcompile.model import CompiledModel
    from qcompile.session import Session

__version__ = "0.1.0"

__all__ = ["CompiledModel", "Session", "__version__", "compile", "load", "tune"]

_LAZY = {
    "compile": ("qcompile.compiler", "compile_model"),
    "load": ("qcompile.artifact.loader", "load"),
    "tune": ("qcompile.compiler", "tune_model"),
    "CompiledModel": ("qcompile.model", "CompiledModel"),
    "Session": ("qcompile.session", "Session"),
}
_PACKAGES = ("passes", "targets")


def __getattr__(name: str) -> Any:
    """Import on first use: `import qcompile` itself stays fast."""
    import importlib

    if name in _PACKAGES:
        return importlib.import_module(f"qcompile.{name}")
    if name in _LAZY:
        module, attribute = _LAZY[name]
        return getattr(importlib.import_module(module), attribute)
    raise AttributeError(f"module 'qcompile' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_PACKAGES])
