"""Bring a model to the one opset that the compiler works on, functions inlined."""

from __future__ import annotations

import onnx
from onnx import inliner, version_converter

from qcompile.errors import CompileError
from qcompile.importer.newer_opset import expand_newer, relabelled

OPSET = 21
"""The default-domain opset of every graph inside the compiler."""

IR_VERSION = 10
"""The ONNX file version that goes with it."""

OLDEST = 7
"""The first opset whose operators broadcast as NumPy does; older ones are refused."""


def inline_functions(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with calls of its own functions replaced by their bodies.

    Raises:
        CompileError: A function is older than the model and cannot be converted to its opset.
    """
    if not model.functions:
        return model
    try:
        return inliner.inline_local_functions(model, convert_version=True)
    except Exception as error:
        raise CompileError(
            f"its functions cannot be inlined: {one_line(error)}",
            hint="export the model without functions, or under one opset",
        ) from error


def convert_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model under OPSET; operators of other domains stay as they are.

    Raises:
        CompileError: The opset is too old, or an operator has no counterpart.
    """
    opset = default_opset(model)
    if opset is None:
        model.opset_import.append(onnx.helper.make_opsetid("", OPSET))
        opset = OPSET
    if opset < OLDEST:
        raise CompileError(
            f"opset {opset} is too old, {OLDEST} is the oldest that can be read",
            hint="export the model again with a newer opset",
        )
    if opset != OPSET:
        try:
            model = _converted(model, opset)
        except Exception as error:
            raise CompileError(
                f"opset {opset} cannot be converted to {OPSET}: {one_line(error)}",
                hint=f"export the model with opset {OPSET}",
            ) from error
    model.ir_version = IR_VERSION
    return model


def _converted(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    if opset > OPSET:
        model = expand_newer(model, OPSET)
    try:
        return version_converter.convert_version(model, OPSET)
    except Exception:
        same = relabelled(model, OPSET) if opset > OPSET else None
        if same is None:
            raise
        return same


def default_opset(model: onnx.ModelProto) -> int | None:
    """Return the version of the standard operators that the model imports, if it does."""
    versions = [item.version for item in model.opset_import if item.domain in ("", "ai.onnx")]
    return versions[0] if versions else None


def one_line(error: BaseException) -> str:
    """Return what a library says on an error as one line of bearable length."""
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else text[:197] + "..."
