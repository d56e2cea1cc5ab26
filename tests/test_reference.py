"""The float reference: its answers, and the fingerprint that tells it from another model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from qcompile.artifact import sha256
from qcompile.errors import CompileError
from qcompile.validation.reference import FloatReference, fingerprint, model_files
from tests.compiled import float_model


def external_model(folder: Path, location: str = "weights.bin") -> Path:
    """A model whose main graph and whose If branch keep a weight outside."""
    weight = onnx.numpy_helper.from_array(np.arange(512, dtype=np.float32), "w")
    branch = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["b"], ["o"])],
        "branch",
        [],
        [onnx.helper.make_tensor_value_info("o", 1, [512])],
        [onnx.numpy_helper.from_array(np.ones(512, np.float32), "b")],
    )
    nodes = [
        onnx.helper.make_node("If", ["c"], ["t"], then_branch=branch, else_branch=branch),
        onnx.helper.make_node("Add", ["t", "w"], ["y"]),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "g",
        [onnx.helper.make_tensor_value_info("c", onnx.TensorProto.BOOL, [])],
        [onnx.helper.make_tensor_value_info("y", 1, [512])],
        [weight],
    )
    path = folder / "model.onnx"
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)]),
        path,
        save_as_external_data=True,
        location=location,
        size_threshold=0,
    )
    return path


def test_answers_are_the_models(tmp_path: Path) -> None:
    x = np.array([[1, -2, 3, -4]], np.float32)
    answers = FloatReference(float_model(tmp_path))({"x": x})
    np.testing.assert_array_equal(answers["y"], [[1, 0, 3, 0]])


def test_fingerprint_is_the_files_sha256(tmp_path: Path) -> None:
    path = float_model(tmp_path)
    assert fingerprint(path) == fingerprint(path.read_bytes()) == sha256(path.read_bytes())


def test_fingerprint_covers_external_data(tmp_path: Path) -> None:
    path = external_model(tmp_path)
    assert model_files(path) == [path, tmp_path / "weights.bin"]
    before = fingerprint(path)
    data = bytearray((tmp_path / "weights.bin").read_bytes())
    data[-1] ^= 1
    (tmp_path / "weights.bin").write_bytes(bytes(data))
    assert fingerprint(path) != before


def test_missing_external_data_is_named(tmp_path: Path) -> None:
    path = external_model(tmp_path)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(CompileError, match=r"weights\.bin: no such file"):
        fingerprint(path)


@pytest.mark.parametrize(
    ("data", "problem"), [(b"no model", "not an ONNX model"), (None, "no such file")]
)
def test_what_is_no_model_is_refused(tmp_path: Path, data: bytes | None, problem: str) -> None:
    path = tmp_path / "model.onnx"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(CompileError, match=problem):
        FloatReference(path)


def test_what_onnxruntime_refuses_is_one_line(tmp_path: Path) -> None:
    path = float_model(tmp_path)
    model = onnx.load(path)
    model.graph.node[0].op_type = "NoSuchOperator"
    onnx.save(model, path)
    with pytest.raises(CompileError, match=r"^[^\n]*onnxruntime cannot run it: [^\n]*$"):
        FloatReference(path)


def test_what_onnxruntime_reads_and_cannot_run_is_one_line(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 18]>
        g (float[2] x) => (float[N] y) { i = Cast <to = 7> (x)  y = Gather(x, i) }"""
    )
    onnx.save(model, tmp_path / "m.onnx")
    reference = FloatReference(tmp_path / "m.onnx")
    with pytest.raises(CompileError, match="onnxruntime cannot run it") as caught:
        reference({"x": np.array([9, 9], np.float32)})
    assert str(tmp_path / "m.onnx") in str(caught.value)
