"""A convolution whose channels become pixels stores them there: no DepthToSpace afterwards."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from qcompile.regions import sole_user
from qcompile.targets.emitter import Array, Buffer, Emitter, plain_layout
from qcompile.targets.kernels.float_elementwise import FloatFunction
from qcompile.targets.kernels.float_functions import FUNCTIONS
from qcompile.targets.kernels.view import View
from qcompile.targets.phases import Phases
from qcompile.targets.plan import static_shape
from qcompile.targets.rules.looking import looked_through
from qcompile.targets.rules.moves import move
from qcompile.targets.rules.operands import operand

FLOAT = ir.DataType.FLOAT

PLANES = 8
"""Channels that are stored number by number: a move of whole vectors takes longer."""


@dataclasses.dataclass(frozen=True)
class Merge:
    """What follows a convolution: Reshape, Transpose and Reshape that make pixels of channels.

    Attributes:
        image: The larger image.
        axes: Where its channels, lines and pixels stand in the first Reshape's shape.
        split: That shape: N, three numbers of channels, h, w.
        functions: Whether functions of one number lie between.
    """

    image: ir.Value
    axes: tuple[int, int, int]
    split: tuple[int, ...]
    functions: bool

    def phases(self, emit: Emitter) -> Phases | None:
        """Return where the convolution's channels lie; None where they are not stored there.

        Planes are for floats; 8-bit pixels must be whole vectors.
        """
        layout = plain_layout(self.image) if self.functions else emit.layout(self.image)
        if self.image.dtype == FLOAT:
            fits = layout == plain_layout(self.image)
        else:
            fits = layout.image and layout.c_pad % emit.isa.lanes == 0
        if not fits:
            return None
        _, down, right = (self.split[axis] for axis in self.axes)
        return Phases.of(View.of(static_shape(self.image), layout), down, right)

    def channels(self, phases: Phases) -> list[int]:
        """Return the convolution's channel of every stored one; -1 for padding."""
        found = []
        for place in phases.order():
            index = [0, 0, 0]
            for axis, number in zip(self.axes, place or (), strict=False):
                index[axis - 1] = number
            flat = np.ravel_multi_index(index, self.split[1:4])
            found.append(-1 if place is None else int(flat))
        return found

    def view(self, phases: Phases) -> View:
        """Return the convolution's output, as the first Reshape makes it, in the image."""
        order = [0, *(1 + self.axes.index(axis) for axis in (1, 2, 3)), 4, 5]
        return phases.split().transpose(order)


def find_merge(conv: ir.Node) -> Merge | None:
    """Return what makes pixels of a convolution's channels, if nothing else reads them."""
    y, functions = conv.outputs[0], False
    split = sole_user(y)
    while split is not None and split.op_type in FUNCTIONS and y.dtype == FLOAT:
        y, functions = split.outputs[0], True
        split = sole_user(y)
    turn = sole_user(split.outputs[0]) if split is not None else None
    merge = sole_user(turn.outputs[0]) if turn is not None else None
    if split is None or turn is None or merge is None:
        return None
    if [node.op_type for node in (split, turn, merge)] != ["Reshape", "Transpose", "Reshape"]:
        return None
    shape, perm = static_shape(split.outputs[0]), turn.attributes.get_ints("perm", [])
    before, image = static_shape(y), static_shape(merge.outputs[0])
    if len(shape) != 6 or len(perm) != 6 or len(before) != 4 or shape[0] != before[0]:
        return None
    n, channels, line, down, pixel, right = perm
    if (n, line, pixel) != (0, 4, 5) or shape[4:] != before[2:]:
        return None
    merged = (shape[channels], shape[down] * before[2], shape[right] * before[3])
    if image != (before[0], *merged) or shape[down] * shape[right] == 1:
        return None
    return Merge(merge.outputs[0], (channels, down, right), shape, functions)


def planes(y: ir.Value, emit: Emitter) -> Phases | None:
    """Return the layout of a convolution's few planes of floats; None for any other output."""
    if y.dtype != FLOAT or static_shape(y)[1] > PLANES:
        return None
    return Phases.of(emit.view(y), 1, 1)


def reordered(constant: Array, channels: Sequence[int]) -> Array:
    """Return an array by output channel in another order; where it is -1, zeros."""
    taken = np.asarray(channels)
    known = (taken >= 0).reshape(-1, *[1] * (constant.ndim - 1))
    return np.where(known, constant[taken], np.zeros((), constant.dtype))


def place_phases(
    conv: ir.Node, merge: Merge, phases: Phases, buffer: Buffer, emit: Emitter
) -> None:
    """Say that a convolution's output lies in a larger image, in a buffer."""
    held = _holder(merge.image) if merge.functions else merge.image
    _hold(conv, held, merge.view(phases), buffer, emit)


def emit_in_place(node: ir.Node, function: str, emit: Emitter) -> bool:
    """Emit a function of floats that lie in the order of another shape; or return False."""
    x, y = operand(node, 0), node.outputs[0]
    source, view = emit.origin(x)
    repeated = view.shape != static_shape(x)
    reader = sole_user(y)
    chained = reader is not None and reader.op_type in FUNCTIONS and y.dtype == FLOAT
    if source.dtype != FLOAT or not repeated:
        return False
    if not chained and not looked_through(y, repeated=True):
        return False
    size = emit.layout(source).size
    if size != math.prod(view.shape) or 0 in view.strides:
        return False
    plain = View.plain((size,))
    template = FloatFunction(
        x=plain,
        y=plain,
        function=function,
        lanes=emit.isa.lanes,
        parallel=emit.worth_threads(size),
    )
    name = str(node.name or y.name)
    buffer = emit.call(template, [emit.buffer(source)], size=size, dtype=FLOAT, node=name)
    _hold(node, _holder(source), view, buffer, emit)
    return True


def _hold(node: ir.Node, held: ir.Value, view: View, buffer: Buffer, emit: Emitter) -> None:
    """Say that a node's output is a view of a value, which lies in a buffer."""
    emit.define(held, buffer)
    emit.defer(node.outputs[0], held, view, lambda: move(node, emit, held, view))


def _holder(like: ir.Value) -> ir.Value:
    """Return a value that no node gives, of the shape and type of another one."""
    return ir.Value(name=None, shape=like.shape, type=like.type)
