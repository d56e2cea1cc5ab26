"""Say how a window moves in numbers: kernel_shape, strides, pads, dilations, group."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import onnx_ir as ir

from qcompile.errors import CompileError

CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})
POOLS = frozenset({"MaxPool", "AveragePool"})


@dataclasses.dataclass(frozen=True)
class ResolveAutoPad(ir.passes.InPlacePass):
    """Write out what auto_pad, ceil_mode and absent attributes of a window operator mean.

    in:  Conv <auto_pad = "SAME_UPPER"> (x, w)
    out: Conv <kernel_shape, strides, pads, dilations, group> (x, w)

    ceil_mode becomes padding at the end, which no maximum and no average sees.

    Kept: a node whose sizes are unknown; ceil_mode with an average that counts its padding,
    since it does not count what ceil_mode adds; ceil_mode with auto_pad VALID, where the
    ONNX text and its shape inference differ; ceil_mode that needs a window full of padding.

    Refused: ceil_mode where the last window would start in the padding at the end. Shape
    inference counts that window and runtimes drop it, so the graph has no one meaning.

    Example:
        before:
            g (float[1,1,5,6] x, float[2,1,2,3] w) => (float[1,2,3,3] y)
            { y = Conv <auto_pad = "SAME_UPPER", strides = [2, 2]> (x, w) }
        after:
            g (float[1,1,5,6] x, float[2,1,2,3] w) => (float[1,2,3,3] y)
            { y = Conv <kernel_shape = [2, 3], strides = [2, 2], pads = [0, 0, 1, 1],
                        dilations = [1, 1], group = 1> (x, w) }
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Return the model and whether any attribute was written or removed."""
        modified = False
        for node in ir.traversal.RecursiveGraphIterator(model.graph):
            window = find_window(node)
            if window is not None and node.attributes.get_int("ceil_mode", 0) == 1:
                _refuse_disputed(node, window)
            pads = resolve_pads(node, window) if window is not None else None
            if window is None or pads is None:
                continue
            modified |= _write(node, window, pads)
        return ir.passes.PassResult(model, modified)


@dataclasses.dataclass(frozen=True)
class Window:
    """How a window of `kernel` taps lies on each spatial axis of `size` pixels."""

    size: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]

    @property
    def reach(self) -> tuple[int, ...]:
        """Pixels from the first tap to the last, both counted."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))


def find_window(node: ir.Node) -> Window | None:
    """Return the window of a convolution or pool whose input sizes are known."""
    if node.domain not in ("", "ai.onnx") or node.op_type not in CONVOLUTIONS | POOLS:
        return None
    x = node.inputs[0]
    if x is None or x.shape is None or not x.shape.is_static():
        return None
    size = _sizes(x.shape)
    kernel = _ints(node, "kernel_shape", ())
    if not kernel:
        weight = node.inputs[1] if len(node.inputs) > 1 else None
        if weight is None or weight.shape is None or not weight.shape.is_static():
            return None
        kernel = _sizes(weight.shape)
    ones = (1,) * len(size)
    return Window(size, kernel, _ints(node, "strides", ones), _ints(node, "dilations", ones))


def resolve_pads(node: ir.Node, window: Window) -> tuple[int, ...] | None:
    """Return the pads, begins then ends, that stand without auto_pad and ceil_mode, if any."""
    auto_pad = node.attributes.get_string("auto_pad", "NOTSET")
    if node.op_type == "ConvTranspose":
        return _transposed_pads(node, window, str(auto_pad))
    rank = len(window.size)
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        totals = [
            max((-(-size // stride) - 1) * stride + reach - size, 0)
            for size, stride, reach in zip(
                window.size, window.strides, window.reach, strict=True
            )
        ]
        return _halves(totals, more_at_end=auto_pad == "SAME_UPPER")
    pads = (0,) * 2 * rank if auto_pad == "VALID" else _ints(node, "pads", (0,) * 2 * rank)
    extra = _ceil_padding(window, pads) if node.attributes.get_int("ceil_mode", 0) else None
    if extra is None or not any(extra):
        return pads
    counted = node.attributes.get_int("count_include_pad", 0)
    ends = tuple(old + more for old, more in zip(pads[rank:], extra, strict=True))
    if counted or auto_pad == "VALID" or any(map(int.__ge__, ends, window.kernel)):
        return None
    return (*pads[:rank], *ends)


def _refuse_disputed(node: ir.Node, window: Window) -> None:
    """Refuse a pool whose shape counts a window that runtimes drop.

    Raises:
        CompileError: Names the node.
    """
    shape = node.outputs[0].shape
    if shape is None or not shape.is_static():
        return
    rank = len(window.size)
    pads = _ints(node, "pads", (0,) * 2 * rank)
    for axis, count in enumerate(_sizes(shape)):
        if (count - 1) * window.strides[axis] >= window.size[axis] + pads[axis]:
            raise CompileError(
                "runtimes disagree about a window that starts in the padding",
                where=f"node {node.name!r} ({node.op_type})",
                hint="export the model with ceil_mode=0, or with explicit pads",
            )


def _ceil_padding(window: Window, pads: tuple[int, ...]) -> tuple[int, ...]:
    """Return what each axis lacks at its end for the last window that ceil_mode adds.

    A window that would begin beyond the input and its first padding is not added.
    """
    rank = len(window.size)
    extra = []
    for axis in range(rank):
        begin, end = pads[axis], pads[rank + axis]
        stride, reach = window.strides[axis], window.reach[axis]
        room = window.size[axis] + begin + end - reach
        last = -(-room // stride) * stride
        if last >= window.size[axis] + begin:
            last -= stride
        extra.append(max(last - room, 0))
    return tuple(extra)


def _transposed_pads(node: ir.Node, window: Window, auto_pad: str) -> tuple[int, ...] | None:
    """Return the pads that cut the full output of a ConvTranspose to the asked size."""
    rank = len(window.size)
    asked = _ints(node, "output_shape", ())[-rank:]
    if auto_pad == "VALID" and not asked:
        return (0,) * 2 * rank
    if auto_pad == "NOTSET" and not asked:
        return _ints(node, "pads", (0,) * 2 * rank)
    wanted = asked or tuple(map(int.__mul__, window.size, window.strides))
    more = _ints(node, "output_padding", (0,) * rank)
    totals = [
        window.strides[axis] * (window.size[axis] - 1)
        + more[axis]
        + window.reach[axis]
        - wanted[axis]
        for axis in range(rank)
    ]
    if min(totals) < 0:
        return None
    return _halves(totals, more_at_end=auto_pad == "SAME_UPPER")


def _halves(totals: Sequence[int], *, more_at_end: bool) -> tuple[int, ...]:
    """Split each total into begin and end; an odd pixel goes where it is said."""
    less, rest = [n // 2 for n in totals], [n - n // 2 for n in totals]
    return (*less, *rest) if more_at_end else (*rest, *less)


def _write(node: ir.Node, window: Window, pads: tuple[int, ...]) -> bool:
    """Put the numbers into the node; return whether that changed anything."""
    before = dict(node.attributes)
    for name in ("auto_pad", "ceil_mode", "output_shape"):
        node.attributes.pop(name, None)
    for name, numbers in (
        ("kernel_shape", window.kernel),
        ("strides", window.strides),
        ("dilations", window.dilations),
        ("pads", pads),
    ):
        if _ints(node, name, ()) != numbers:
            node.attributes[name] = ir.AttrInt64s(name, numbers)
    if node.op_type in CONVOLUTIONS and "group" not in node.attributes:
        node.attributes["group"] = ir.AttrInt64("group", 1)
    return dict(node.attributes) != before


def _sizes(shape: ir.Shape) -> tuple[int, ...]:
    """Return the spatial dimensions."""
    return tuple(dim for dim in shape[2:] if isinstance(dim, int))


def _ints(node: ir.Node, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(node.attributes.get_ints(name, default) or ())
