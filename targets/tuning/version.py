"""The version of a kernel template: a hash of the code that it is made of."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
import importlib.util
from pathlib import Path
from typing import Any

KERNELS = "qcompile.targets.kernels"

MODULES = {
    "DenseConv": ("dense_conv", "dense_loops", "dense_steps", "dense_store", "epilogue"),
    "BatchMatMul": (
        "batch_matmul",
        "dense_conv",
        "dense_loops",
        "dense_steps",
        "dense_store",
        "epilogue",
    ),
    "DepthwiseConv": (
        "depthwise_conv",
        "depthwise_loops",
        "depthwise_parts",
        "depthwise_walk",
        "depthwise_window",
        "epilogue",
        "interleave",
        "reread",
    ),
}
"""The modules of `kernels` that decide how fast a template's kernels are.

A template that is not listed hangs on all of them, and on its own.
"""


def template_version(template: Any) -> str:
    """Return the hash of a template's code, its instruction set's, and TVM's version.

    Comments, docstrings and the look of the code do not count.
    """
    kind = type(template)
    listed = MODULES.get(kind.__name__, tuple(dict.fromkeys(sum(MODULES.values(), ()))))
    own = [f"{KERNELS}.{name}" for name in listed]
    return _version(tuple(dict.fromkeys([kind.__module__, *own, template.isa.dot.__module__])))


@functools.cache
def _version(modules: tuple[str, ...]) -> str:
    parts = [code(name) for name in modules]
    parts.append(importlib.metadata.version("apache-tvm"))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def code(module: str) -> str:
    """Return a module's syntax tree without docstrings, as text."""
    found = importlib.util.find_spec(module)
    assert found is not None, module
    assert found.origin is not None, module
    return normal(Path(found.origin).read_text())


def normal(source: str) -> str:
    """Return what is left of source without comments and docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [each for each in body if not _is_text(each)]  # type: ignore[attr-defined]
    return ast.dump(tree)


def _is_text(statement: ast.stmt) -> bool:
    value = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)
