"""The .qcm file: what is in it, and how it is packed, sealed and loaded."""

from qcompile.artifact.archive import (
    ENTRIES,
    LIBRARY,
    MANIFEST,
    SEAL,
    Artifact,
    check_host,
    graph_bytes,
    load,
    pack,
    save,
    sha256,
)
from qcompile.artifact.golden import Golden

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
