"""Float nodes that have a kernel of ours; every other one becomes a float island."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx_ir as ir

from qcompile.graphs.reduced_axes import constant_axes
from qcompile.regions import STANDARD_DOMAINS, activation_bounds, constant
from qcompile.targets.emitter import Emitter, plain_layout
from qcompile.targets.float_plan import (
    POOLS,
    Taps,
    has_numbers,
    has_window_kernel,
    image_layout,
)
from qcompile.targets.kernels.float_elementwise import (
    OPERATIONS,
    FloatClamp,
    FloatFunction,
    FloatPair,
)
from qcompile.targets.kernels.float_end import FloatEnd
from qcompile.targets.kernels.float_functions import FUNCTIONS
from qcompile.targets.kernels.float_pool import FloatPool
from qcompile.targets.kernels.row_mean import RowMean
from qcompile.targets.kernels.window import Window
from qcompile.targets.plan import static_shape
from qcompile.targets.rules.operands import dtype_of, operand, optional
from qcompile.targets.rules.phases import emit_in_place
from qcompile.targets.rules.pools import emit_max_pool

FLOAT = ir.DataType.FLOAT
INDICES = (ir.DataType.INT32, ir.DataType.INT64)
CASTS = (ir.DataType.BOOL, *INDICES)
MOVES = frozenset(
    {"Concat", "Expand", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
)
"""Movers whose shapes say all there is to know."""

ROWS = frozenset({"LayerNormalization", "Softmax"})
MEANS = frozenset({"ReduceMean", "ReduceSum"})
PRODUCTS = frozenset({"Conv", "Gemm", "MatMul"})


def runs(node: ir.Node) -> bool:
    """Whether a float node has a kernel of ours: its operator, types and shapes."""
    y = node.outputs[0]
    values = [value for value in (*node.inputs, y) if value is not None]
    if node.domain not in STANDARD_DOMAINS or y.dtype != FLOAT or not values:
        return False
    if any(value.shape is None or 0 in static_shape(value) for value in values):
        return False
    if any(value.name for value in node.outputs[1:]):
        return False
    condition = CONDITIONS.get(node.op_type)
    return condition is not None and condition(
        node, [value.dtype for value in node.inputs if value]
    )


def _takes_last_axes(node: ir.Node) -> bool:
    axes, rank = constant_axes(node), len(static_shape(operand(node, 0)))
    return bool(axes) and list(axes or ()) == list(range(rank))[-len(axes or ()) :]


def _has_rows(node: ir.Node) -> bool:
    """Whether rows follow each other, and a normalization's constants have their length."""
    shape = static_shape(operand(node, 0))
    if not shape:
        return False
    if node.op_type == "Softmax":
        return node.attributes.get_int("axis", -1) % len(shape) == len(shape) - 1
    rest = [value for value in node.inputs[1:] if value is not None]
    return all(static_shape(value) == row_shape(node) for value in rest)


def row_shape(node: ir.Node) -> tuple[int, ...]:
    """Return the axes that a LayerNormalization or a Softmax takes together."""
    shape = static_shape(operand(node, 0))
    return shape[node.attributes.get_int("axis", -1) % len(shape) :]


def emit_function(node: ir.Node, emit: Emitter) -> None:
    """Emit a function of one number."""
    if emit_in_place(node, function_name(node), emit):
        return
    x, y = operand(node, 0), node.outputs[0]
    buffer, view = emit.where(x)
    template = FloatFunction(
        x=view,
        y=emit.view(y),
        function=function_name(node),
        dtype=dtype_of(x),
        lanes=emit.isa.lanes,
        parallel=emit.worth_threads(emit.layout(y).size),
    )
    emit.produce(node, template, [buffer])


def function_name(node: ir.Node) -> str:
    """Return a node's name in `float_functions.FUNCTIONS`, if it is there."""
    approximate = node.attributes.get_string("approximate", "none") == "tanh"
    return f"{node.op_type}{'Tanh' if approximate else ''}"


def emit_clip(node: ir.Node, emit: Emitter) -> None:
    """Emit a Clip with constant bounds."""
    y, bounds = node.outputs[0], activation_bounds(node)
    assert bounds is not None
    buffer, view = emit.where(operand(node, 0))
    template = FloatClamp(
        x=view,
        y=emit.view(y),
        end=FloatEnd(*bounds),
        lanes=emit.isa.lanes,
        parallel=emit.worth_threads(emit.layout(y).size),
    )
    emit.produce(node, template, [buffer])


def emit_pool(node: ir.Node, emit: Emitter) -> None:
    """Emit a pool of floats; a MaxPool of integers is one of `pools`."""
    x, y = operand(node, 0), node.outputs[0]
    if y.dtype != FLOAT:
        emit_max_pool(node, emit)
        return
    source, target = (
        emit.layouts.get(value) or image_layout(value, emit.isa) for value in (x, y)
    )
    taps = Taps.of(node)
    template = FloatPool(
        x=source,
        y=target,
        window=Window(
            kernel=taps.kernel,
            strides=taps.strides,
            pads=taps.pads,
            dilations=taps.dilations,
        ),
        mean=node.op_type != "MaxPool",
        padding=node.attributes.get_int("count_include_pad", 0) == 1,
        lanes=emit.isa.lanes,
        parallel=emit.worth_threads(source.size),
    )
    emit.produce(node, template, [emit.buffer(x, source)], layout=target)


def emit_pair(node: ir.Node, emit: Emitter) -> None:
    """Emit an Add, Sub, Mul or Div; either side may be broadcast."""
    y = node.outputs[0]
    (a_buffer, a), (b_buffer, b) = (emit.where(operand(node, index)) for index in range(2))
    template = FloatPair(
        a=a,
        b=b,
        y=emit.view(y),
        operation=node.op_type,
        lanes=emit.isa.lanes,
        parallel=emit.worth_threads(emit.layout(y).size),
    )
    emit.produce(node, template, [a_buffer, b_buffer])


def emit_mean(node: ir.Node, emit: Emitter) -> None:
    """Emit a ReduceMean or ReduceSum over the last axes."""
    x, y = operand(node, 0), node.outputs[0]
    rows, size = plain_layout(y).size, plain_layout(x).size
    template = RowMean(
        rows=rows,
        channels=size // rows,
        mean=node.op_type == "ReduceMean",
        lanes=emit.isa.lanes,
        parallel=emit.worth_threads(size),
    )
    emit.produce(node, template, [emit.plain(x)])


Types = Sequence[ir.DataType | None]


def _all_float(node: ir.Node, types: Types) -> bool:
    return all(kind == FLOAT for kind in types)


def _first_float(node: ir.Node, types: Types) -> bool:
    return types[0] == FLOAT


def _casts(node: ir.Node, types: Types) -> bool:
    return types[0] in CASTS


def _chooses(node: ir.Node, types: Types) -> bool:
    return list(types[1:]) == [FLOAT, FLOAT]


def _gathers(node: ir.Node, types: Types) -> bool:
    return types[0] == FLOAT and types[1] in INDICES


def _slices(node: ir.Node, types: Types) -> bool:
    told = node.inputs[1:]
    return types[0] == FLOAT and all(v is None or constant(v) is not None for v in told)


def _reduces(node: ir.Node, types: Types) -> bool:
    return types[0] == FLOAT and _takes_last_axes(node)


def _clamps(node: ir.Node, types: Types) -> bool:
    return types[0] == FLOAT and activation_bounds(node) is not None


def _multiplies(node: ir.Node, types: Types) -> bool:
    """Whether it is a product of matrices, of a Gemm in its plain form."""
    weight, bias = operand(node, 1), optional(node, 2)
    if not _all_float(node, types):
        return False
    if min(len(static_shape(operand(node, index))) for index in range(2)) < 2:
        return False
    if node.op_type == "MatMul":
        return True
    if not has_numbers(weight):
        return False
    odd = [node.attributes.get_int(name, 0) for name in ("transA", "transB")]
    even = [node.attributes.get_float(name, 1.0) for name in ("alpha", "beta")]
    row = constant(bias)
    plain = bias is None or (row is not None and row.size in (1, static_shape(weight)[1]))
    plain = plain and (row is None or row.ndim == 0 or row.shape[-1] == row.size)
    return plain and not any(odd) and even == [1.0, 1.0]


def _has_window(node: ir.Node, types: Types) -> bool:
    return has_window_kernel(node)


def _normalizes(node: ir.Node, types: Types) -> bool:
    return _all_float(node, types) and _has_rows(node)


CONDITIONS: dict[str, Callable[[ir.Node, Types], bool]] = {
    **dict.fromkeys(MOVES, _first_float),
    **dict.fromkeys(FUNCTIONS, _first_float),
    **dict.fromkeys(OPERATIONS, _all_float),
    **dict.fromkeys(MEANS, _reduces),
    **dict.fromkeys(ROWS, _normalizes),
    **dict.fromkeys(("Conv", *POOLS), _has_window),
    **dict.fromkeys(("Gemm", "MatMul"), _multiplies),
    "Cast": _casts,
    "Clip": _clamps,
    "Concat": _all_float,
    "Gather": _gathers,
    "Slice": _slices,
    "Where": _chooses,
}
"""What must hold of a node, beside static shapes and a float output."""

RULES: dict[str, Callable[[ir.Node, Emitter], None]] = {
    **{name: emit_function for name in FUNCTIONS if name != "GeluTanh"},
    **dict.fromkeys(OPERATIONS, emit_pair),
    **dict.fromkeys(MEANS, emit_mean),
    **dict.fromkeys(POOLS, emit_pool),
    "Clip": emit_clip,
}
