"""Run a compiled model without the compiler: neither ONNX nor TVM is imported."""

from __future__ import annotations

import ctypes
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qcompile.artifact.sealed import (
    FORMAT,
    LIBRARY,
    MANIFEST,
    check_host,
    read_sealed,
    refusal,
    refuse,
    unpack,
)
from qcompile.data.run_inputs import check_inputs
from qcompile.errors import CompileError
from qcompile.host import host_arch, host_features
from qcompile.targets.runner import LibraryRunner
from qcompile.tensors import read_interface

Array = npt.NDArray[np.generic]


class Session:
    """A compiled model, ready to run on this machine.

        session = qcompile.Session("model.qcm")
        outputs = session.run({"input": x})

    Attributes:
        inputs: What a run takes.
        outputs: What it gives, in the model's order.
        target: What it was compiled for.
    """

    def __init__(self, path: Path | str) -> None:
        """Load an artifact; hashes and the CPU's features are checked first.

        Raises:
            CompileError: No artifact, damaged or tampered with, or compiled for another
                machine.
        """
        path = Path(path)
        contents = read_sealed(path, (MANIFEST,))
        manifest = read_manifest(path, contents)
        check_host(manifest, where=str(path), arch=host_arch(), features=host_features())
        self.target = str(manifest["target"])
        with tempfile.TemporaryDirectory(prefix="qcompile-") as folder:
            library = Path(folder) / LIBRARY
            if unpack(path, LIBRARY, library) != manifest["library"]:
                refuse(path, f"{LIBRARY} is not what was packed (its sha256 differs)")
            try:
                code = ctypes.CDLL(str(library))
                text = ctypes.string_at(ctypes.addressof(ctypes.c_char.in_dll(code, SYMBOL)))
                self.inputs, self.outputs = read_interface(text.decode())
                self._runner = LibraryRunner(library, self.inputs, self.outputs)
            except (OSError, ValueError, AttributeError) as error:
                raise refusal(path, f"{LIBRARY} cannot be loaded: {error}") from error

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run once.

        Args:
            inputs: An array for every input, in its exact shape and type.

        Raises:
            CompileError: A wrong name, shape or type, or a float that is not finite.
        """
        check_inputs(self.inputs, inputs)
        return self._runner(inputs)

    def bind(
        self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]
    ) -> Callable[[], None]:
        """Return a function that runs once on these very arrays: nothing is checked or made.

        Raises:
            CompileError: An array is missing, or is not of its input's or output's shape and
                type, contiguous and, of an output, writable.
        """
        try:
            return self._runner.bind(
                [inputs[each.name] for each in self.inputs],
                [outputs[each.name] for each in self.outputs],
            )
        except (KeyError, ValueError) as error:
            raise CompileError(str(error), where="bind") from error


SYMBOL = "model_interface"


def read_manifest(path: Path, contents: Mapping[str, bytes]) -> dict[str, Any]:
    """Return what a run relies on: target, arch, features, and the sha256 of the library.

    Raises:
        CompileError: Another format, or no manifest.
    """
    try:
        manifest = json.loads(contents[MANIFEST])
        found, sealed = manifest["format"], manifest["entries"][LIBRARY]
        machine = (str(manifest["target"]), str(manifest["arch"]), list(manifest["features"]))
    except (ValueError, KeyError, TypeError) as error:
        raise refusal(path, f"manifest.json is no manifest: {error}") from error
    if found != FORMAT:
        refuse(path, f"artifact format {found}, this qcompile reads format {FORMAT}")
    return dict(
        zip(("target", "arch", "features", "library"), (*machine, str(sealed)), strict=True)
    )
