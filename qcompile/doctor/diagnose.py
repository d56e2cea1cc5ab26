"""All checks over one model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
import onnx_ir as ir
from onnx import version_converter
from onnx_ir.passes import common

from qcompile.doctor.check_bias import check_bias
from qcompile.doctor.check_pairs import check_float_edges, check_float_sides, check_pairs
from qcompile.doctor.check_parameters import (
    check_axes,
    check_padding,
    check_scales,
    check_zero_points,
    is_per_channel,
)
from qcompile.doctor.check_sharing import check_sharing
from qcompile.doctor.check_sums import check_accumulators, check_saturation
from qcompile.doctor.check_target import check_target
from qcompile.doctor.check_weights import check_weights
from qcompile.doctor.finding import Check, Finding, Severity
from qcompile.doctor.graph import nodes
from qcompile.errors import CompileError, UnsupportedOpError
from qcompile.importer.input_shapes import Shapes
from qcompile.importer.load_model import load_model
from qcompile.importer.model_file import EXPORT_AGAIN, check_model, read_file
from qcompile.importer.opset import default_opset, inline_functions, one_line
from qcompile.importer.quantized_forms import expand_quantized_forms
from qcompile.target import Target

PER_CHANNEL_OPSET = 13
"""From this opset on a Q or DQ has an axis."""

CHECKS: tuple[Check, ...] = (
    check_scales,
    check_zero_points,
    check_axes,
    check_pairs,
    check_float_sides,
    check_float_edges,
    check_sharing,
    check_padding,
    check_bias,
    check_weights,
    check_accumulators,
    check_saturation,
)


def diagnose(
    proto: onnx.ModelProto, target: Target | None = None, shapes: Shapes | None = None
) -> list[Finding]:
    """Return all findings, the errors first.

    Forms other than QDQ are looked at as the importer writes them out.

    Args:
        proto: The model, which is left as it is.
        target: Whose kernels are asked what stays float.
        shapes: Shapes of inputs that the model leaves open; only a target needs them.

    Raises:
        CompileError: It is no ONNX model.
    """
    model = prepared(proto)
    findings = list(_opset(proto))
    try:
        expand_quantized_forms(model)
        model = with_types(model)
    except UnsupportedOpError as error:
        findings.append(_refused(error))
    for check in CHECKS:
        findings += check(model.graph)
    if target is not None:
        findings += _on_target(proto, target, shapes)
    order = list(Severity)
    return sorted(findings, key=lambda finding: order.index(finding.severity))


def read(path: Path) -> onnx.ModelProto:
    """Return a model as it stands, weights loaded, operators not checked.

    Raises:
        CompileError: There is no such file, or it is no ONNX model.
    """
    try:
        return read_file(path)
    except CompileError as error:
        where = f"{path}: {error.where}" if error.where else str(path)
        raise CompileError(error.problem, where=where, hint=error.hint) from error


def prepared(proto: onnx.ModelProto) -> ir.Model:
    """Return a checked copy under opset 13 at least, its constants as initializers.

    Raises:
        CompileError: It is no valid ONNX model.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    opset = default_opset(copy)
    if opset is not None and opset < PER_CHANNEL_OPSET:
        copy = raise_opset(copy)
    check_model(copy)
    model = deserialized(inline_functions(copy))
    for step in (
        common.RemoveInitializersFromInputsPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
    ):
        step(model)
    return with_types(model)


def deserialized(proto: onnx.ModelProto) -> ir.Model:
    """Return the model as onnx_ir has it.

    Raises:
        CompileError: It is no valid ONNX model.
    """
    try:
        return ir.from_proto(proto)
    except ir.serde.SerdeError as error:
        raise CompileError(
            f"not a valid ONNX model: {one_line(error.__cause__ or error)}", hint=EXPORT_AGAIN
        ) from error


def raise_opset(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model under opset 13, the first with per-channel Q and DQ.

    Raises:
        CompileError: An operator has no counterpart there.
    """
    try:
        return version_converter.convert_version(proto, PER_CHANNEL_OPSET)
    except Exception as error:
        raise CompileError(
            f"its opset cannot be raised to {PER_CHANNEL_OPSET}: {one_line(error)}",
            hint="export the model with a newer opset",
        ) from error


def with_types(model: ir.Model) -> ir.Model:
    """Return the model with the types and shapes that can be inferred."""
    try:
        return ir.from_proto(onnx.shape_inference.infer_shapes(ir.to_proto(model)))
    except (onnx.shape_inference.InferenceError, RuntimeError):
        return model


def _opset(proto: onnx.ModelProto) -> Iterator[Finding]:
    opset = default_opset(proto)
    if opset is None or opset >= PER_CHANNEL_OPSET:
        return
    model = deserialized(proto)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    count = sum(is_per_channel(node) for node in nodes(model.graph))
    if count:
        yield Finding(
            Severity.ERROR,
            "per-channel-opset",
            f"opset {opset}",
            f"{count} QuantizeLinear or DequantizeLinear nodes have several scales, which "
            f"exist from opset {PER_CHANNEL_OPSET} on: runtimes use the first, or refuse",
            f"export with opset {PER_CHANNEL_OPSET} or newer",
            fixable=True,
        )


def _on_target(
    proto: onnx.ModelProto, target: Target, shapes: Shapes | None
) -> Iterator[Finding]:
    from qcompile.compiler import float_passes  # it brings the compiler along
    from qcompile.pipeline import run_passes

    try:
        model = run_passes(load_model(proto, shapes), float_passes())
    except CompileError as error:
        yield _refused(error)
        return
    yield from check_target(model.graph, target)


def _refused(error: CompileError) -> Finding:
    return Finding(
        Severity.ERROR, "not-read", error.where or "the model", error.problem, error.hint
    )
