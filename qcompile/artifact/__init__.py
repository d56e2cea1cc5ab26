"""The .qcm file: what is in it, and how it is packed, sealed and loaded.

What needs ONNX is imported on first use: a run does without.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qcompile.artifact.archive import Artifact, graph_bytes, load, pack, save
    from qcompile.artifact.golden import Golden
    from qcompile.artifact.sealed import (
        ENTRIES,
        LIBRARY,
        MANIFEST,
        SEAL,
        check_host,
        sha256,
    )

__all__ = [
    "ENTRIES",
    "LIBRARY",
    "MANIFEST",
    "SEAL",
    "Artifact",
    "Golden",
    "check_host",
    "graph_bytes",
    "load",
    "pack",
    "save",
    "sha256",
]

_LAZY = dict.fromkeys(("Artifact", "graph_bytes", "load", "pack", "save"), "archive")
_LAZY |= {"Golden": "golden"}


def __getattr__(name: str) -> Any:
    """Import on first use."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LAZY.get(name, 'sealed')}"), name)
