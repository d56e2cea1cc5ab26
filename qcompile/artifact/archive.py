"""The .qcm file: a zip of library, graphs, golden run and a manifest that seals them by hash.

    manifest.json   see `qcompile.artifact.manifest`; holds the sha256 of every other entry
    library.so      what the target runs
    graph.onnx      the integer graph
    qdq.onnx        the QDQ graph, which any ONNX runtime runs; it shares graph.onnx's weights
    golden.npz      inputs and outputs of one run ("input:NAME", "output:NAME")

The zip's comment holds the sha256 of the manifest, so no entry can change unnoticed. Times in
the zip are fixed: the same contents give the same bytes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import cast, get_origin, get_type_hints, is_typeddict

import onnx
import onnx_ir as ir

from qcompile.artifact.golden import Golden, golden_bytes, read_golden
from qcompile.artifact.manifest import Manifest
from qcompile.artifact.sealed import (
    FORMAT,
    GOLDEN,
    GRAPH,
    LIBRARY,
    MANIFEST,
    QDQ,
    SEAL,
    read_sealed,
    refusal,
    refuse,
    sha256,
)
from qcompile.artifact.shared_weights import with_shared, without_shared
from qcompile.files import write_atomic
from qcompile.importer.opset import one_line


@dataclasses.dataclass(frozen=True, kw_only=True)
class Artifact:
    """What a .qcm file holds."""

    manifest: Manifest
    library: bytes
    integer_graph: ir.Model
    qdq_graph: ir.Model
    golden: Golden


def pack(artifact: Artifact) -> bytes:
    """Return the bytes of the .qcm file; the artifact's `entries` hashes are made here."""
    graph = graph_bytes(artifact.integer_graph)
    contents = {
        LIBRARY: artifact.library,
        GRAPH: graph,
        QDQ: without_shared(ir.to_proto(artifact.qdq_graph), graph, GRAPH),
        GOLDEN: golden_bytes(artifact.golden),
    }
    hashes = {name: sha256(data) for name, data in contents.items()}
    manifest = json.dumps({**artifact.manifest, "entries": hashes}, indent=1, sort_keys=True)
    contents = {MANIFEST: manifest.encode(), **contents}
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in contents.items():
            info = zipfile.ZipInfo(name)  # its time is 1980-01-01, always
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
        archive.comment = (SEAL + sha256(contents[MANIFEST])).encode()
    return stream.getvalue()


def save(artifact: Artifact, path: Path) -> int:
    """Write the .qcm file atomically and return its size.

    Raises:
        CompileError: The path cannot be written.
    """
    data = pack(artifact)
    write_atomic(path, data)
    return len(data)


def load(path: Path) -> Artifact:
    """Read a .qcm file; every hash is checked before anything in it is used.

    Raises:
        CompileError: It is missing, truncated, tampered with, or not an artifact.
    """
    contents = read_sealed(path)
    manifest = _checked_manifest(path, contents)
    for name in (LIBRARY, GRAPH, QDQ, GOLDEN):
        if manifest["entries"].get(name) != sha256(contents[name]):
            refuse(path, f"{name} is not what was packed (its sha256 differs)")
    with _reading(path, GRAPH):
        integer_graph = _graph(onnx.load_model_from_string(contents[GRAPH]))
    with _reading(path, QDQ):
        qdq_graph = _graph(with_shared(contents[QDQ], contents[GRAPH]))
    with _reading(path, GOLDEN):
        golden = read_golden(contents[GOLDEN], integer_graph.graph)
    return Artifact(
        manifest=manifest,
        library=contents[LIBRARY],
        integer_graph=integer_graph,
        qdq_graph=qdq_graph,
        golden=golden,
    )


def graph_bytes(model: ir.Model) -> bytes:
    """Return the ONNX file of a graph; the same graph gives the same bytes."""
    data: bytes = ir.to_proto(model).SerializeToString(deterministic=True)
    return data


def _checked_manifest(path: Path, contents: dict[str, bytes]) -> Manifest:
    try:
        manifest = json.loads(contents[MANIFEST])
    except ValueError as error:
        raise refusal(path, f"manifest.json is not JSON: {error}") from error
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if found != FORMAT:
        refuse(path, f"artifact format {found}, this qcompile reads format {FORMAT}")
    lacking = sorted(Manifest.__required_keys__ - manifest.keys())
    if lacking:
        refuse(path, f"manifest.json lacks {', '.join(lacking)}")
    for name, annotation in get_type_hints(Manifest).items():
        origin = get_origin(annotation)
        kind = origin if isinstance(origin, type) and origin in (list, dict) else annotation
        kind = dict if is_typeddict(kind) else kind
        if not isinstance(manifest[name], kind):
            what = kind.__name__ if isinstance(kind, type) else str(kind)
            refuse(path, f"manifest.json: {name!r} is not a {what}")
    if not all(isinstance(name, str) for name in manifest["features"]):
        refuse(path, "manifest.json: 'features' is not a list of names")
    return cast(Manifest, manifest)


@contextlib.contextmanager
def _reading(path: Path, name: str) -> Iterator[None]:
    """Refuse an entry that its parser does not take; the hashes prove only who packed it."""
    try:
        yield
    except Exception as error:  # protobuf, zip, NumPy and onnx_ir: each has its own
        reason = one_line(error) or type(error).__name__
        raise refusal(path, f"{name} cannot be read: {reason}") from error


def _graph(proto: onnx.ModelProto) -> ir.Model:
    model = ir.from_proto(proto)
    values = (*model.graph.inputs, *model.graph.outputs)
    if not model.graph.outputs or any(value.dtype is None for value in values):
        raise ValueError("it is no whole graph")
    if any(value.shape is None or not value.shape.is_static() for value in values):
        raise ValueError("a shape is open")
    return model
