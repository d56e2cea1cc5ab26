"""The cases of onnx's backend tests, which operators they test, and how one is run."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
from onnx.backend.test.case.test_case import TestCase
from onnx.backend.test.loader import load_model_tests
from onnx.backend.test.runner import (
    BackendIsNotSupposedToImplementIt,
    Runner,
    _normalize_tensor,
)

from qcompile.errors import CompileError
from qcompile.onnx_backend import QcompileBackend
from qcompile.targets.island_limits import TYPES
from qcompile.targets.island_rewrites import importer_operators

KINDS = ("node", "pytorch-operator", "pytorch-converted", "simple")


@functools.cache
def load() -> dict[str, TestCase]:
    """Return the cases by name, the folder's before it where it is not "node"."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            case.name if kind == "node" else f"{kind}/{case.name}": case
            for kind in KINDS
            for case in sorted(load_model_tests(kind=kind), key=lambda case: case.name)
        }


def names() -> list[str]:
    """Return the names of all cases."""
    return list(load())


@functools.cache
def _operators() -> dict[str, str]:
    return {
        name: case.model.graph.node[0].op_type
        for name, case in load().items()
        if case.model is not None and "_expanded" not in name
    }


def operator(name: str) -> str:
    """Return which operator a case tests: that of its node, or the kind of the whole model.

    A name with "_expanded" is the case before it with the operator's own function body.
    """
    if "/" in name:
        return f"({name.split('/')[0]})"
    plain = name.split("_expanded")[0]
    return _operators().get(plain, "(expanded)")


@functools.cache
def supported() -> frozenset[str]:
    """Return the standard float operators that TVM's importer knows."""
    standard = {each.name for each in onnx.defs.get_all_schemas() if each.domain == ""}
    return importer_operators() & standard


@functools.cache
def is_read(name: str) -> bool:
    """Whether a case has tensors only, of the element types that the compiler reads."""
    case = load()[name]
    model = case.model or onnx.load(Path(str(case.model_dir)) / "model.onnx")
    values = (*model.graph.input, *model.graph.output)
    return all(
        value.type.HasField("tensor_type")
        and onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type) in READ
        for value in values
    )


READ = TYPES - {"FLOAT16"}

PREAMBLE = """# ONNX backend tests

`python benchmarks/backend_tests.py` runs the cases that the onnx package brings (its node
tests, the small PyTorch models, the simple ones) through import, float passes and float
kernels on this CPU (recipe `float`), each judged as the tests of onnx judge it: shapes, types,
and 1e-3 relative.

- *Listed* is a standard operator that the float path has a converter for.
- Cases named `_expanded` count for the operator whose definition they are.
- *Read* are the element types float32, float64, bool and integers of 8 to 64 bits.
- Inputs that say what is computed (a shape, axes, sizes) are constants of a compiled model:
  it is compiled for the values that the case runs it with.
- *Wrong* are also crashes, hangs over a minute, and errors that are no refusal."""


def run(case: TestCase) -> tuple[str, str]:
    """Return ("passed" | "refused" | "wrong", why)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for expected, got in answers(case):
                Runner.assert_similar_outputs(
                    expected, got, case.rtol, case.atol, model_dir=case.model_dir
                )
    except BackendIsNotSupposedToImplementIt as refusal:
        return "refused", str(refusal).splitlines()[0]
    except AssertionError as error:
        return "wrong", " ".join(str(error).split())[:300]
    except CompileError as error:
        return "wrong", f"refused at run time: {error}"
    except Exception as error:
        return "wrong", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return "passed", ""


def answers(case: TestCase) -> Iterator[tuple[list[Any], Any]]:
    """Yield expected and computed outputs of every data set."""
    model = case.model or onnx.load(Path(str(case.model_dir)) / "model.onnx")
    rep = QcompileBackend.prepare(model)
    for inputs, expected in case.data_sets or stored(Path(str(case.model_dir)), model):
        got = rep.run([_normalize_tensor(item) for item in inputs])
        yield [_normalize_tensor(item) for item in expected], got


def stored(folder: Path, model: onnx.ModelProto) -> list[tuple[list[Any], list[Any]]]:
    """Return the data sets in a case's folder."""
    sets = []
    for data in sorted(folder.glob("test_data_set_*")):
        inputs, outputs = (
            [
                read(data / f"{kind}_{index}.pb", value.type)
                for index, value in enumerate(values)
                if (data / f"{kind}_{index}.pb").exists()
            ]
            for kind, values in (("input", model.graph.input), ("output", model.graph.output))
        )
        sets.append((inputs, outputs))
    return sets


def read(path: Path, kind: onnx.TypeProto) -> Any:
    """Return the value in a .pb file."""
    if kind.HasField("sequence_type"):
        sequence = onnx.SequenceProto.FromString(path.read_bytes())
        return onnx.numpy_helper.to_list(sequence)
    return onnx.TensorProto.FromString(path.read_bytes())
