"""The .qcm file: what is in it, and how it is packed, sealed and loaded."""

from qcompile.artifact.archive import (
    ENTRIES,
    LIBRARY,
    MANIFEST,
    SEAL,
    Artifact,
    Golden,
    check_host,
    graph_bytes,
    load,
    pack,
    save,
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
