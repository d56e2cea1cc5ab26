"""What TVM's ONNX importer takes and computes wrong: refused here, by name and reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import onnx_ir as ir

from qcompile.errors import UnsupportedOpError
from qcompile.regions import constant

TYPES = frozenset(
    {"FLOAT", "DOUBLE", "FLOAT16", "BOOL"}
    | {f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)}
)
"""Element types that an island may hold; the importer has more, with wrong conversions."""

Condition = Callable[[ir.Node], bool]


@dataclasses.dataclass(frozen=True)
class Limit:
    """One thing that the importer gets wrong.

    Attributes:
        op_type: The operator.
        holds: Whether a node is such a case.
        what: What it is, for the user.
    """

    op_type: str
    holds: Condition
    what: str


def integer(name: str, default: int) -> Callable[[ir.Node], int]:
    """Return how to read an integer attribute."""
    return lambda node: node.attributes.get_int(name, default) or 0


def text(name: str, default: str) -> Callable[[ir.Node], str]:
    """Return how to read a text attribute."""
    return lambda node: node.attributes.get_string(name, default) or default


def trains(node: ir.Node) -> bool:
    """Whether a Dropout is told to drop, or may be told so while it runs."""
    mode = node.inputs[2] if len(node.inputs) > 2 else None
    array = constant(mode)
    return mode is not None and (array is None or bool(array.any()))


LIMITS: Sequence[Limit] = (
    Limit(
        "IsInf",
        lambda node: (
            not (integer("detect_positive", 1)(node) and integer("detect_negative", 1)(node))
        ),
        "it asks for one sign of infinity only",
    ),
    Limit(
        "BatchNormalization",
        lambda node: integer("training_mode", 0)(node) != 0,
        "it is in training mode",
    ),
    Limit("Dropout", trains, "it is in training mode"),
    Limit("RoiAlign", lambda node: text("mode", "avg")(node) == "max", "its mode is max"),
    Limit(
        "Resize", lambda node: integer("antialias", 0)(node) != 0, "it asks for antialiasing"
    ),
    Limit(
        "Resize",
        lambda node: (
            text("mode", "nearest")(node) == "cubic"
            and text("coordinate_transformation_mode", "half_pixel")(node) == "align_corners"
            and constant(node.inputs[2] if len(node.inputs) > 2 else None) is not None
        ),
        "it is cubic with aligned corners and a scale",
    ),
)


def refuse_wrong_kernels(node: ir.Node) -> None:
    """Refuse a node that would be built and answer wrong.

    Raises:
        UnsupportedOpError: Names the node and what of it no float kernel computes.
    """
    for limit in LIMITS:
        if node.op_type == limit.op_type and limit.holds(node):
            raise _refusal(node, f"{limit.what}, which no float kernel computes")
    for value in (*node.inputs, *node.outputs):
        if value is None or not value.name:
            continue
        if value.dtype is not None and value.dtype.name not in TYPES:
            raise _refusal(node, f"{value.name!r} is {value.dtype.name.lower()}")


def _refusal(node: ir.Node, problem: str) -> UnsupportedOpError:
    return UnsupportedOpError(
        f"{node.op_type}: {problem}",
        where=f"node {node.name!r}",
        hint="replace the operator in the model, or cut the model before it",
    )


def check_outputs(outputs: Sequence[ir.Value], made: Sequence[object]) -> None:
    """Refuse what the importer made of an island where shape or type is not what ONNX says.

    Args:
        outputs: Of the island.
        made: The shape and element type of each in TVM.

    Raises:
        ValueError: Says which differs.
    """
    for value, got in zip(outputs, made, strict=True):
        assert value.shape is not None
        assert value.dtype is not None
        expected = (tuple(value.shape.numpy()), value.dtype.numpy().name)
        if got != expected:
            raise ValueError(f"TVM gives {got} for {value.name!r}, which is {expected}")
