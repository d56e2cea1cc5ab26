"""Fold a Pad of zeros into the pads of the convolution or average pool after it."""

from __future__ import annotations

import dataclasses

import onnx_ir as ir

from qcompile.graphs.transposes import permutation
from qcompile.regions import constant, sole_user

TAKERS = ("Conv", "AveragePool")


@dataclasses.dataclass(frozen=True)
class FoldPad(ir.passes.InPlacePass):
    """Fold `Conv(Pad(x, p), pads=q)` into `Conv(x, pads=p + q)`; exact.

    Through a Transpose, too: `Conv(T(Pad(x, p)))`, as exporters of NHWC models write it.

    An AveragePool counts the padded zeros, so it becomes one with count_include_pad = 1.

    Kept: a Pad with another mode or another value than 0, of the batch or channel axis, by a
    negative number, with a second user, of a convolution's weight, or before a MaxPool (whose
    own padding never wins); an AveragePool with pads of its own that it does not count, with
    ceil_mode, or whose pads would reach its kernel's size; and any operator that has auto_pad
    (ResolveAutoPad runs first).

    Example:
        before:
            g (float[1,2,5,5] x, float[3,2,3,3] w) => (float[1,3,9,11] y)
            <int64[8] p = {0, 0, 1, 2, 0, 0, 3, 4}>
            { a = Pad (x, p)  y = Conv <pads = [1, 1, 1, 1]> (a, w) }
        after:
            g (float[1,2,5,5] x, float[3,2,3,3] w) => (float[1,3,9,11] y)
            { y = Conv <pads = [2, 3, 4, 5]> (x, w) }
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Return the model and whether any Pad was folded."""
        modified = False
        for node in ir.traversal.RecursiveGraphIterator(model.graph):
            pads, (turn, user) = zero_pads(node), readers(node)
            if pads is None or user is None:
                continue
            if turn is not None:
                order = permutation(turn)
                pads = [[each[axis] for axis in order] for each in pads]
            begins, ends = pads
            new = begins[2:] + ends[2:]
            if any(begins[:2] + ends[:2]) or not new or not takes_pads(user, new):
                continue
            _fold(node, turn, user, new)
            modified = True
        return ir.passes.PassResult(model, modified)


def readers(pad: ir.Node) -> tuple[ir.Node | None, ir.Node | None]:
    """Return the Transpose behind a Pad, if any, and the node that reads the image, if one."""
    turn, image = None, pad.outputs[0]
    user = sole_user(image)
    if user is not None and user.op_type == "Transpose":
        turn, image = user, user.outputs[0]
        user = sole_user(image)
    return turn, user if user is not None and user.inputs[0] is image else None


def zero_pads(node: ir.Node) -> list[list[int]] | None:
    """Return the begins and the ends, by axis, of a Pad with zeros."""
    if node.op_type != "Pad" or node.inputs[0] is None or node.inputs[0].shape is None:
        return None
    mode = node.attributes.get("mode")
    if mode is not None and mode.as_string() != "constant":
        return None
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        value = constant(node.inputs[2])
        if value is None or value.any():
            return None
    pads = constant(node.inputs[1])
    if pads is None:
        return None
    rank = len(node.inputs[0].shape)
    begins, ends = _by_axis(node, [int(pad) for pad in pads.reshape(-1)], rank)
    return [begins, ends] if min(begins + ends) >= 0 and rank >= 3 else None


def takes_pads(node: ir.Node, new: list[int]) -> bool:
    """Whether this operator can take these pads of zeros into its own."""
    attributes = node.attributes
    auto = attributes.get("auto_pad")
    if node.op_type not in TAKERS or (auto is not None and auto.as_string() != "NOTSET"):
        return False
    own = attributes.get("pads")
    if own is not None and len(own.as_ints()) != len(new):
        return False
    if node.op_type == "Conv":
        return True
    ceil = attributes.get("ceil_mode")
    counts = attributes.get("count_include_pad")
    uncounted = own is not None and any(own.as_ints()) and not (counts and counts.as_int())
    if (ceil is not None and ceil.as_int()) or uncounted:
        return False
    kernel = node.attributes["kernel_shape"].as_ints()
    total = _total_pads(node, new)
    return all(pad < size for pad, size in zip(total, [*kernel, *kernel], strict=True))


def _total_pads(node: ir.Node, new: list[int]) -> list[int]:
    """Return an operator's own pads and so much more."""
    own = node.attributes.get("pads")
    before = own.as_ints() if own is not None else [0] * len(new)
    return [mine + more for mine, more in zip(before, new, strict=True)]


def _fold(pad: ir.Node, turn: ir.Node | None, user: ir.Node, new: list[int]) -> None:
    """Let the user pad by so much more, and remove the Pad."""
    user.attributes["pads"] = ir.AttrInt64s("pads", _total_pads(user, new))
    if user.op_type == "AveragePool":
        user.attributes["count_include_pad"] = ir.AttrInt64("count_include_pad", 1)
    source = pad.inputs[0]
    (user if turn is None else turn).replace_input_with(0, source)
    if turn is not None and source is not None and source.shape is not None:
        turned = [source.shape[axis] for axis in permutation(turn)]
        turn.outputs[0].shape = ir.Shape(turned)
    assert pad.graph is not None
    pad.graph.remove(pad, safe=True)


def _by_axis(node: ir.Node, pads: list[int], rank: int) -> tuple[list[int], list[int]]:
    """Spread pads given for some axes (opset 18) over all of them."""
    axes = list(range(rank))
    if len(node.inputs) > 3 and node.inputs[3] is not None:
        array = constant(node.inputs[3])
        if array is None:
            return [-1], [-1]
        axes = [int(axis) % rank for axis in array.reshape(-1)]
    begins, ends = [0] * rank, [0] * rank
    for position, axis in enumerate(axes):
        begins[axis], ends[axis] = pads[position], pads[position + len(axes)]
    return begins, ends
