"""The float reference: the source model, run by onnxruntime, known by its hash."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from qcompile.errors import CompileError
from qcompile.target import Arrays

if TYPE_CHECKING:
    import onnx


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
        self._session = open_session(path, where=str(path))
        self._names = [output.name for output in self._session.get_outputs()]

    def __call__(self, inputs: Arrays) -> dict[str, npt.NDArray[np.generic]]:
        """Run once and return the outputs by name."""
        return dict(zip(self._names, self._session.run(None, dict(inputs)), strict=True))


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
        CompileError: The file, or a file it names, cannot be read.
    """
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    digest = hashlib.sha256(_read(source))
    for location in _external_files(source):
        digest.update(_read(source.parent / location))
    return digest.hexdigest()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise CompileError("no such file", where=str(path), hint="check the path") from error
    except OSError as error:
        raise CompileError(f"cannot read: {error.strerror}", where=str(path)) from error


def _external_files(path: Path) -> list[str]:
    """Return the external files a model names, those outside its folder left out."""
    import onnx

    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf has several errors, without a common base
        raise CompileError(
            "not an ONNX file, or damaged",
            where=str(path),
            hint="export the model again",
        ) from error
    folder = path.parent.resolve()
    names = {_location(tensor) for tensor in model.graph.initializer} - {""}
    return sorted(name for name in names if (folder / name).resolve().is_relative_to(folder))


def _location(tensor: onnx.TensorProto) -> str:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    return str(entries.get("location", ""))
