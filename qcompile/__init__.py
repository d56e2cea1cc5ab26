"""qcompile: compile an ONNX model to exact integer kernels for a named target."""

from __future__ import annotations

__version__ = "0.1.0"
