"""The .qcm file: the same in and out, refused when a byte is another, written whole or not."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qcompile import artifact
from qcompile.artifact import ENTRIES, MANIFEST, SEAL, check_host, sha256
from qcompile.data.npz import npz_bytes
from qcompile.errors import CompileError
from qcompile.files import check_writable, write_atomic
from qcompile.targets import find_target
from tests.compiled import compiled

PACKED = artifact.pack(compiled()._contents)


def repack(change: Callable[[dict[str, bytes]], None], *, seal: bool = False) -> bytes:
    """Return the artifact with changed entries, its zip structure sound."""
    with zipfile.ZipFile(io.BytesIO(PACKED)) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
        comment = archive.comment
    change(contents)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
        archive.comment = (SEAL + sha256(contents[MANIFEST])).encode() if seal else comment
    return stream.getvalue()


def load(tmp_path: Path, data: bytes) -> artifact.Artifact:
    path = tmp_path / "model.qcm"
    path.write_bytes(data)
    return artifact.load(path)


def test_round_trip(tmp_path: Path) -> None:
    model = compiled()
    size = model.save(tmp_path / "model.qcm")
    loaded = artifact.load(tmp_path / "model.qcm")
    assert size == (tmp_path / "model.qcm").stat().st_size == model.report["size_bytes"]
    assert loaded.library == model.library
    assert {**loaded.manifest, "entries": {}} == model.manifest
    assert set(loaded.manifest["entries"]) == set(ENTRIES) - {MANIFEST}
    for graph in ("integer_graph", "qdq_graph"):
        before, after = getattr(model, graph), getattr(loaded, graph)
        assert artifact.graph_bytes(after) == artifact.graph_bytes(before)
    np.testing.assert_array_equal(loaded.golden.inputs["x"], model.golden.inputs["x"])
    np.testing.assert_array_equal(loaded.golden.outputs["y"], model.golden.outputs["y"])


def test_weights_are_stored_once_and_both_graphs_stay_whole(tmp_path: Path) -> None:
    model = compiled()
    weights = np.random.default_rng(0).integers(-127, 128, 4096, dtype=np.int8)
    for graph in (model.integer_graph.graph, model.qdq_graph.graph):
        tensor = ir.tensor(weights, name="w")
        value = ir.Value(name="w", const_value=tensor, shape=ir.Shape([4096]))
        value.type = ir.TensorType(tensor.dtype)
        graph.initializers.add(value)
    model.save(tmp_path / "model.qcm")
    with zipfile.ZipFile(tmp_path / "model.qcm") as archive:
        assert len(archive.read("qdq.onnx")) < 4096 < len(archive.read("graph.onnx"))
        archive.extractall(tmp_path)
    loaded = artifact.load(tmp_path / "model.qcm")
    assert artifact.graph_bytes(loaded.qdq_graph) == artifact.graph_bytes(model.qdq_graph)
    unzipped = onnx.load(tmp_path / "qdq.onnx")
    onnx.checker.check_model(tmp_path / "qdq.onnx")
    stored = next(tensor for tensor in unzipped.graph.initializer if tensor.name == "w")
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(stored), weights)


def test_compiling_twice_gives_the_same_bytes() -> None:
    assert artifact.pack(compiled()._contents) == PACKED


def test_manifest_says_no_path_and_every_scheme(tmp_path: Path) -> None:
    manifest = load(tmp_path, PACKED).manifest
    assert manifest["tensors"]["r"] == {"dtype": "UINT8", "scale": 0.5, "zero_point": 128}
    table = {"node": "r", "kernel": "table", "tile": "", "macs": 0, "bytes": 0}
    assert manifest["kernels"] == [table]
    assert str(Path.cwd()) not in json.dumps(manifest)
    assert set(manifest["versions"]) >= {"apache-tvm", "numpy", "onnx"}


@pytest.mark.parametrize("name", [name for name in ENTRIES if name != MANIFEST])
def test_tampered_entry_is_refused_by_name(tmp_path: Path, name: str) -> None:
    def flip(contents: dict[str, bytes]) -> None:
        contents[name] = contents[name][:-1] + bytes([contents[name][-1] ^ 1])

    with pytest.raises(CompileError, match=rf"{name} is not what was packed"):
        load(tmp_path, repack(flip))


def edit_manifest(**fields: object) -> Callable[[dict[str, bytes]], None]:
    def edit(contents: dict[str, bytes]) -> None:
        manifest = {**json.loads(contents[MANIFEST]), **fields}
        kept = {key: value for key, value in manifest.items() if value is not None}
        contents[MANIFEST] = json.dumps(kept).encode()

    return edit


def test_tampered_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match=r"manifest.json is not what was packed"):
        load(tmp_path, repack(edit_manifest(features=[])))


SEALED = {
    "other format": (edit_manifest(format=99), "artifact format 99, this qcompile reads"),
    "no kernels": (edit_manifest(kernels=None), "manifest.json lacks kernels"),
    "not JSON": (lambda contents: contents.update({MANIFEST: b"{"}), "is not JSON"),
    "a list": (lambda contents: contents.update({MANIFEST: b"[]"}), "artifact format None"),
    "hashes gone": (edit_manifest(entries={}), "library.so is not what was packed"),
    "hashes no table": (edit_manifest(entries=[]), "manifest.json: 'entries' is not a dict"),
    "entry too many": (lambda contents: contents.update({"x": b""}), "its entries are others"),
}


@pytest.mark.parametrize(("change", "problem"), SEALED.values(), ids=SEALED)
def test_sealed_but_wrong_is_refused(
    tmp_path: Path, change: Callable[[dict[str, bytes]], None], problem: str
) -> None:
    with pytest.raises(CompileError, match=problem):
        load(tmp_path, repack(change, seal=True))


def resealed(name: str, data: bytes) -> Callable[[dict[str, bytes]], None]:
    """Put other bytes in, and the hash that fits them."""

    def change(contents: dict[str, bytes]) -> None:
        contents[name] = data
        manifest = json.loads(contents[MANIFEST])
        manifest["entries"][name] = sha256(data)
        contents[MANIFEST] = json.dumps(manifest).encode()

    return change


UNREADABLE = {
    "graph, empty": (resealed("graph.onnx", b""), "graph.onnx cannot be read"),
    "graph, junk": (resealed("graph.onnx", b"junk"), "graph.onnx cannot be read"),
    "qdq, junk": (resealed("qdq.onnx", b"junk"), "qdq.onnx cannot be read"),
    "qdq, empty": (resealed("qdq.onnx", b""), "qdq.onnx cannot be read"),
    "golden, junk": (resealed("golden.npz", b"junk"), "golden.npz cannot be read"),
    "golden, empty": (resealed("golden.npz", b""), "golden.npz cannot be read"),
    "golden, another's": (
        resealed("golden.npz", npz_bytes({"input:q": np.zeros(1)})),
        "golden.npz cannot be read: its names are not those of the graph",
    ),
    "target": (edit_manifest(target=5), r"manifest.json: 'target' is not a str"),
    "features": (edit_manifest(features=5), r"manifest.json: 'features' is not a list"),
    "features, text": (edit_manifest(features="avx"), r"'features' is not a list"),
    "feature": (edit_manifest(features=[5]), r"'features' is not a list of names"),
    "kernels": (edit_manifest(kernels=5), r"manifest.json: 'kernels' is not a list"),
    "tensors": (edit_manifest(tensors=[]), r"manifest.json: 'tensors' is not a dict"),
}


@pytest.mark.parametrize(("change", "problem"), UNREADABLE.values(), ids=UNREADABLE)
def test_whole_by_its_hashes_but_unreadable(
    tmp_path: Path, change: Callable[[dict[str, bytes]], None], problem: str
) -> None:
    with pytest.raises(CompileError, match=problem + r".*\n  hint: compile the model again"):
        load(tmp_path, repack(change, seal=True))


@pytest.mark.parametrize("library", [b"", b"evil" * 100])
def test_a_library_that_is_none_is_refused(library: bytes) -> None:
    model = compiled()
    lowering = find_target("x86-avx2").lowering
    model = dataclasses.replace(
        model, library=library, target=dataclasses.replace(model.target, lowering=lowering)
    )
    with pytest.raises(CompileError, match=r"library.so: cannot be loaded.*\n  hint: "):
        model.run({"x": np.zeros((1, 4), np.float32)})


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.7, 0.97, 0.999])
def test_truncated_is_refused(tmp_path: Path, share: float) -> None:
    with pytest.raises(CompileError, match=r"truncated or damaged"):
        load(tmp_path, PACKED[: int(len(PACKED) * share)])


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, len(PACKED) - 1), bits=st.integers(1, 255))
def test_any_other_byte_is_refused_or_harmless(
    tmp_path: Path, position: int, bits: int
) -> None:
    data = bytearray(PACKED)
    data[position] ^= bits
    try:
        loaded = load(tmp_path, bytes(data))
    except CompileError:
        return
    # A byte that carries nothing, such as a time or a file mode of the zip.
    assert artifact.pack(loaded) == PACKED


def test_another_machine_is_refused() -> None:
    manifest = {**compiled().manifest, "features": ["avx2", "warp_drive"]}
    with pytest.raises(CompileError, match=r"this machine is aarch64"):
        check_host(manifest, where="m.qcm", arch="aarch64", features=())
    with pytest.raises(CompileError, match=r"this CPU lacks warp_drive\n  hint: compile for"):
        check_host(manifest, where="m.qcm", arch="x86_64", features={"avx2"})
    check_host(manifest, where="m.qcm", arch="x86_64", features={"avx2", "warp_drive", "mmx"})


@pytest.mark.parametrize(
    "failure", [OSError(28, "No space left on device"), KeyboardInterrupt()]
)
def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    path = tmp_path / "model.qcm"
    path.write_bytes(b"before")

    def fail(*_: object) -> None:
        raise failure

    monkeypatch.setattr(os, "replace", fail)
    expected = CompileError if isinstance(failure, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        write_atomic(path, b"after")
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["model.qcm"]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("missing/model.qcm", "no such folder"),
        ("file/model.qcm", "no such folder"),
        (".", "not a regular file"),
        ("/dev/null", "not a regular file"),
        ("/proc/model.qcm", "cannot write"),
    ],
)
def test_unwritable_is_found_before_work(tmp_path: Path, name: str, problem: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CompileError, match=problem):
        check_writable(tmp_path / name)
    assert os.listdir(tmp_path) == ["file"]


def test_writing_through_a_link_keeps_the_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"before")
    (tmp_path / "link").symlink_to("real")
    write_atomic(tmp_path / "link", b"after")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"after"
