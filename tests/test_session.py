"""A run without the compiler: the same answers, the same refusals, and little imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import qcompile
from qcompile.compiler import compile_model
from qcompile.errors import CompileError
from qcompile.host import host_arch, host_features
from qcompile.model import CompiledModel
from qcompile.targets import fitting
from qcompile.tensors import Tensor, interface_text, read_interface
from tests.nets import NETS, net, samples

HERE = fitting(host_arch(), host_features())
needs_target = pytest.mark.skipif(not HERE, reason="no target fits this machine")

IMPORTED = """
import sys, numpy, qcompile
session = qcompile.Session(sys.argv[1])
x = {each.name: numpy.zeros(each.shape, each.dtype) for each in session.inputs}
session.run(x)
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


@pytest.fixture(scope="module")
def model() -> CompiledModel:
    source = net(NETS["pools and a classifier"])
    return compile_model(source, HERE[0], calibration=samples(source, 4))


@pytest.fixture
def path(model: CompiledModel, tmp_path: Path) -> Path:
    model.save(tmp_path / "model.qcm")
    return tmp_path / "model.qcm"


@needs_target
def test_same_answers(model: CompiledModel, path: Path) -> None:
    session = qcompile.Session(path)
    assert [each.name for each in session.inputs] == ["x"]
    assert [(each.name, each.shape) for each in session.outputs] == [("y", (1, 10))]
    y = np.empty((1, 10), np.float32)
    x = np.empty(session.inputs[0].shape, np.float32)
    bound = session.bind({"x": x}, {"y": y})
    for sample in samples(net(NETS["pools and a classifier"]), 3, seed=1):
        expected = model.run(sample)["y"]
        np.testing.assert_array_equal(session.run(sample)["y"], expected, strict=True)
        x[...] = sample["x"]
        bound()
        np.testing.assert_array_equal(y, expected, strict=True)


@needs_target
def test_any_memory_of_an_input_will_do(path: Path) -> None:
    session = qcompile.Session(path)
    (sample,) = samples(net(NETS["pools and a classifier"]), 1)
    expected = session.run(sample)["y"]
    frozen = sample["x"].copy()
    frozen.flags.writeable = False
    turned = np.asfortranarray(sample["x"])
    for x in (frozen, turned, np.ma.masked_array(sample["x"])):
        np.testing.assert_array_equal(session.run({"x": x})["y"], expected, strict=True)
    again = session.run(sample)["y"]
    again[...] = 0
    np.testing.assert_array_equal(session.run(sample)["y"], expected, strict=True)


@needs_target
def test_little_is_imported(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, str(path)], capture_output=True, text=True, check=True
    )
    assert not {"onnx", "onnx_ir", "tvm", "onnxruntime", "sympy"} & set(done.stdout.split())


@needs_target
def test_wrong_arrays_are_refused(path: Path) -> None:
    session = qcompile.Session(path)
    shape = session.inputs[0].shape
    x = np.zeros(shape, np.float32)
    for inputs, message in (
        ({}, "no array for input"),
        ({"x": x, "z": x}, "has no input"),
        ({"x": x.astype(np.float64)}, "got float64"),
        ({"x": x[..., :1]}, "it takes"),
        ({"x": np.full_like(x, np.nan)}, "nan at"),
    ):
        with pytest.raises(CompileError, match=message):
            session.run(inputs)
    with pytest.raises(CompileError, match="bind"):
        session.bind({"x": x}, {"y": np.empty((1, 9), np.float32)})


@needs_target
def test_a_damaged_artifact_is_refused(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(CompileError, match=r"model\.qcm"):
        qcompile.Session(path)


def test_an_interface_is_read_as_it_was_written() -> None:
    inputs = [
        Tensor('a "b"\n c', np.dtype(np.float32), (1, 2)),
        Tensor("s", np.dtype(bool), ()),
    ]
    outputs = [Tensor("y", np.dtype(np.int64), (3,))]
    assert read_interface(interface_text(inputs, outputs)) == (tuple(inputs), tuple(outputs))
    with pytest.raises(ValueError, match="interface"):
        read_interface('other float32 1 "x"')
