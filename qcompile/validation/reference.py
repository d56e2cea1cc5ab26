"""The float reference: the source model, run by onnxruntime, known by its hash."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qcompile.errors import CompileError
from qcompile.importer.opset import one_line
from qcompile.target import Arrays


class FloatReference:
    """A model in onnxruntime, ready to run.

    Attributes:
        sha256: Fingerprint of the file.
    """

    def __init__(self, path: Path) -> None:
        """Load the model.

        Raises:
            CompileError: No such file, or onnxruntime cannot run it.
        """
        self.sha256 = fingerprint(path)
        self._where = str(path)
        self._session = open_session(path, where=str(path))
        self._names = [output.name for output in self._session.get_outputs()]

    def __call__(self, inputs: Arrays) -> dict[str, npt.NDArray[np.generic]]:
        """Run once and return the outputs by name.

        Raises:
            CompileError: onnxruntime reads the model and cannot run it.
        """
        try:
            outputs = self._session.run(None, dict(inputs))
        except Exception as error:  # onnxruntime has no common base class of its own
            raise CompileError(
                f"onnxruntime cannot run it: {one_line(error)}",
                where=self._where,
                hint="validate without --reference",
            ) from error
        return dict(zip(self._names, outputs, strict=True))


def open_session(model: Path | bytes, *, where: str, options: Any = None) -> Any:
    """Return an onnxruntime session on the CPU.

    Raises:
        CompileError: onnxruntime refuses the model; says why in its own first line.
    """
    import onnxruntime

    options = options or onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only: its warnings are about its own rewrites
    source = model if isinstance(model, bytes) else str(model)
    try:
        return onnxruntime.InferenceSession(
            source, options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime has no common base class of its own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CompileError(f"onnxruntime cannot run it: {reason}", where=where) from error


def fingerprint(source: Path | bytes) -> str:
    """Return the SHA-256 of a model file and of the external data that it names.

    Raises:
        CompileError: A file cannot be read, or the first is no ONNX model.
    """
    digest = hashlib.sha256()
    for data in (source,) if isinstance(source, bytes) else map(_read, model_files(source)):
        digest.update(data)
    return digest.hexdigest()


def model_files(path: Path) -> list[Path]:
    """Return the files of a model: itself, and its external data by name.

    Names that lead out of its folder are left out; onnxruntime and the importer refuse them.

    Raises:
        CompileError: It cannot be read, or is no ONNX model.
    """
    import onnx_ir as ir

    _read(path)
    try:
        graph = ir.load(path).graph
    except Exception as error:  # protobuf and onnx_ir have no common base class
        raise CompileError(
            "not an ONNX model, or damaged", where=str(path), hint="export the model again"
        ) from error
    folder = path.parent.resolve()
    names = {
        str(value.const_value.location)
        for each in (graph, *graph.subgraphs())
        for value in each.initializers.values()
        if isinstance(value.const_value, ir.ExternalTensor)
    }
    inside = [name for name in names if (folder / name).resolve().is_relative_to(folder)]
    return [path, *(path.parent / name for name in sorted(inside))]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise CompileError("no such file", where=str(path), hint="check the path") from error
    except OSError as error:
        raise CompileError(f"cannot be read: {error.strerror}", where=str(path)) from error
