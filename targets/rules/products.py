"""Products of two activations, and everything that is quantized at run time."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import onnx_ir as ir

from qcompile import ops
from qcompile.targets.emitter import Array, Buffer, Emitter, plain_layout
from qcompile.targets.isa import Isa
from qcompile.targets.kernels.batch_matmul import BatchMatMul
from qcompile.targets.kernels.dense_conv import DenseConv
from qcompile.targets.kernels.dynamic_quantize import DynamicQuantize
from qcompile.targets.kernels.dynamic_range import DynamicRange
from qcompile.targets.kernels.epilogue import Epilogue
from qcompile.targets.kernels.flip import Flip
from qcompile.targets.kernels.pack_rhs import MIDDLE, PackRhs
from qcompile.targets.kernels.row_sums import RowSums
from qcompile.targets.kernels.scale_vector import ScaleVector
from qcompile.targets.kernels.view import View
from qcompile.targets.layout import Layout, round_up
from qcompile.targets.plan import static_shape
from qcompile.targets.rules.conv import rows_layout
from qcompile.targets.rules.operands import WIDEST, array, dtype_of, epilogue_of, operand

INT32 = ir.DataType.INT32
FLOAT = ir.DataType.FLOAT


def emit_dynamic_quantize(node: ir.Node, emit: Emitter) -> None:
    """Emit a DynamicQuantizeLinear: the range of all, then all."""
    x, (y, scale, zero_point) = operand(node, 0), node.outputs
    plain = emit.plain(x)
    size = math.prod(static_shape(x))
    scale_buffer, zero_point_buffer = emit.call_all(
        DynamicRange(size=size, lanes=emit.isa.lanes),
        [plain],
        [(1, FLOAT), (1, ir.DataType.UINT8)],
        node=str(node.name),
    )
    emit.define(scale, scale_buffer, plain_layout(scale))
    emit.define(zero_point, zero_point_buffer, plain_layout(zero_point))
    template = DynamicQuantize(
        y=emit.view(y), lanes=emit.isa.lanes, parallel=emit.worth_threads(size)
    )
    emit.produce(node, template, [plain, scale_buffer, zero_point_buffer])


def emit_batch_matmul(node: ir.Node, emit: Emitter) -> None:
    """Emit a QBatchMatMul."""
    points = [
        np.array([node.attributes[f"{name}_zero_point"].as_int()], np.int32) for name in "ab"
    ]
    a, b = operand(node, 0), operand(node, 1)
    middle = MIDDLE if dtype_of(b) == "uint8" else 0
    left, view, shift = left_side(a, emit)
    depth, multiplier = static_shape(a)[-1], float(array(node, 2))
    product = _Product(
        left,
        view,
        points[0] + np.int32(shift),
        b,
        points[1],
        centred=int(points[1][0]) == middle,
        multiplier=np.full(_channels(node, emit), multiplier, np.float32),
        epilogue=epilogue_of(node, WIDEST**2 * depth * abs(multiplier)),
    )
    product.emit(node, emit)


def emit_dynamic_batch_matmul(node: ir.Node, emit: Emitter) -> None:
    """Emit a QDynamicBatchMatMul: zero points and scales come from buffers."""
    a, b = operand(node, 0), operand(node, 3)
    left, view, shift = left_side(a, emit)
    size = _channels(node, emit)
    scale = scaled(emit, operand(node, 1), np.ones(1, np.float32))
    scale = emit.call(
        ScaleVector(size=1, number_dtype="float32", dtype="float32", lanes=emit.isa.lanes),
        [scale, emit.buffer(operand(node, 4))],
        size=1,
        dtype=FLOAT,
    )
    product = _Product(
        left,
        view,
        scaled(emit, operand(node, 2), np.ones(1, np.int32), shift),
        b,
        scaled(emit, operand(node, 5), np.ones(1, np.int32)),
        centred=False,
        multiplier=emit.call(
            ScaleVector(size=size, number_dtype="float32", dtype="float32"),
            [scale, np.ones(size, np.float32)],
            size=size,
            dtype=FLOAT,
        ),
        epilogue=Epilogue(dtype="float32"),
    )
    product.emit(node, emit)


def emit_dynamic_matmul(node: ir.Node, emit: Emitter) -> None:
    """Emit a QDynamicMatMul: a dense product whose bias and multipliers come at run time.

    The zero point's share is `-x_zero_point * sum(w)`, one a channel.
    """
    x, y, weight = operand(node, 0), node.outputs[0], array(node, 3)
    buffer, source, shift = as_rows(x, emit)
    target = rows_layout(y, emit)
    bounds = (node.attributes[name].as_float() for name in ("lo", "hi"))
    lo, hi = bounds
    template = DenseConv(
        x=source,
        y=target,
        isa=emit.isa,
        epilogue=Epilogue(dtype="float32", lo=lo, hi=hi),
        addend=True,
    )
    parallel = emit.worth_launch(template.macs(), buffer)
    template = emit.tuned(dataclasses.replace(template, parallel=parallel))
    kernel = np.ascontiguousarray(weight.T)[:, :, None, None]
    sums = -weight.sum(axis=0, dtype=np.int32)
    w, base, taken, factors = template.pack(kernel, sums, _vector(node, 4, weight), 0)
    size = len(taken)
    addend = np.zeros(size, np.float32)
    addend[: weight.shape[1]] = _vector(node, 5, weight)
    emit.produce(
        node,
        template,
        [
            buffer,
            w,
            base,
            scaled(emit, operand(node, 2), taken, shift),
            scaled(emit, operand(node, 1), factors),
            addend,
        ],
        layout=target,
        tile=str(template.tile),
        macs=template.macs(),
    )


@dataclasses.dataclass(frozen=True)
class _Product:
    """A product of two activations: what its kernels take.

    Zero points are int32[1]; that of a is already shifted as its integers are.
    """

    a: Buffer
    view: View
    a_zero_point: Buffer | Array
    b: ir.Value
    b_zero_point: Buffer | Array
    centred: bool
    multiplier: Buffer | Array
    epilogue: Epilogue

    def emit(self, node: ir.Node, emit: Emitter) -> None:
        """Emit the packing of b, the sums over a's rows where needed, and the product."""
        isa, name = emit.isa, str(node.name)
        target = rows_layout(node.outputs[0], emit)
        right, view = right_side(self.b, emit)
        left, batch = self.view, static_shape(node.outputs[0])[:-2]
        if math.prod(view.shape[:-2]) == 1:
            left, batch = flattened(left, batch)
        kernel = BatchMatMul(
            **BatchMatMul.layouts(left, batch, target),
            b_batch=view.shape[:-2] if batch else (),
            centred=self.centred,
            isa=isa,
            epilogue=self.epilogue,
        )
        parallel = emit.worth_launch(kernel.macs(), self.a)
        kernel = emit.tuned(dataclasses.replace(kernel, parallel=parallel))
        packing = PackRhs(
            b=view, dtype=dtype_of(self.b), isa=isa, width=kernel.width, parallel=parallel
        )
        w, bias = emit.call_all(
            packing,
            [right, self.a_zero_point, self.b_zero_point],
            list(zip(packing.sizes, (ir.DataType.INT8, INT32), strict=True)),
            node=name,
        )
        base = np.zeros(len(kernel.blocks()), np.int32)
        arguments = [self.a, w, base, bias, self.multiplier]
        if not self.centred:
            sums = RowSums(a=left, isa=isa, shift=packing.shift, parallel=parallel)
            operands = [self.a, self.b_zero_point]
            rows = emit.call(sums, operands, size=sums.rows, dtype=INT32, node=name)
            arguments.append(rows)
        emit.produce(
            node,
            kernel,
            arguments,
            layout=target,
            tile=str(kernel.tile),
            macs=kernel.macs(),
        )


def left_side(a: ir.Value, emit: Emitter) -> tuple[Buffer, View, int]:
    """Return integers of the type that dots take, with K along memory, and their shift.

    The shift is what was added to each. They are moved only where they must be.
    """
    buffer, view = emit.where(a)
    if dtype_of(a) == emit.isa.activation and readable(view, emit.isa):
        return buffer, view, 0
    rows, layout, shift = as_rows(a, emit)
    return rows, View.of(static_shape(a), layout), shift


def as_rows(x: ir.Value, emit: Emitter) -> tuple[Buffer, Layout, int]:
    """Return integers of the type that dots take, as rows, and what was added to each."""
    rows = Layout.rows(static_shape(x), emit.isa.channels)
    if dtype_of(x) == emit.isa.activation:
        return emit.buffer(x, rows), rows, 0
    buffer, view = emit.where(x)
    template = Flip(
        x=view,
        y=View.of(static_shape(x), rows),
        dtype=dtype_of(x),
        lanes=emit.isa.lanes,
        parallel=emit.worth_threads(rows.size),
    )
    flipped = ir.DataType.INT8 if dtype_of(x) == "uint8" else ir.DataType.UINT8
    shift = -MIDDLE if dtype_of(x) == "uint8" else MIDDLE
    return emit.call(template, [buffer], size=rows.size, dtype=flipped), rows, shift


def readable(view: View, isa: Isa) -> bool:
    """Whether dots can take rows from where they lie: whole groups, all inside the memory."""
    depth = round_up(view.shape[-1], isa.k_group)
    last = view.offset + sum((extent - 1) * stride for extent, stride in view.axes[:-1])
    step = view.strides[-2]
    whole = step % isa.k_group == 0 and step >= depth
    return view.strides[-1] == 1 and whole and last + depth <= view.layout.size


def right_side(b: ir.Value, emit: Emitter) -> tuple[Buffer, View]:
    """Return integers of which rows or columns lie together."""
    buffer, view = emit.where(b)
    if 1 in view.strides[-2:]:
        return buffer, view
    rows = Layout.rows(static_shape(b), emit.isa.channels)
    return emit.buffer(b, rows), View.of(static_shape(b), rows)


def flattened(a: View, batch: tuple[int, ...]) -> tuple[View, tuple[int, ...]]:
    """Return matrices that meet the same right side as one, where their rows lie alike."""
    leading = dataclasses.replace(a, shape=a.shape[:-1], strides=a.strides[:-1]).merged()
    if len(leading.axes) > 1 or a.shape[:-2] != batch:
        return a, batch
    rows, step = leading.axes[0] if leading.axes else (1, a.strides[-2])
    return dataclasses.replace(a, shape=(rows, a.shape[-1]), strides=(step, 1)), ()


def scaled(emit: Emitter, number: ir.Value, constants: Array, offset: int = 0) -> Buffer:
    """Emit `(number + offset) * constants` and return it."""
    template = ScaleVector(
        size=constants.size,
        number_dtype=dtype_of(number),
        dtype=constants.dtype.name,
        offset=offset,
        lanes=emit.isa.lanes,
    )
    dtype = ir.DataType.from_numpy(constants.dtype)
    operands = [emit.plain(number), constants]
    return emit.call(template, operands, size=constants.size, dtype=dtype)


def _channels(node: ir.Node, emit: Emitter) -> int:
    """Return how many columns the answer has, in whole vectors."""
    return round_up(static_shape(node.outputs[0])[-1], emit.isa.lanes)


def _vector(node: ir.Node, index: int, weight: Array) -> Any:
    """Return a constant, one number a column of the weight."""
    return np.broadcast_to(array(node, index).reshape(-1), weight.shape[1:])


RULES = {
    "DynamicQuantizeLinear": emit_dynamic_quantize,
    ops.QBATCHMATMUL: emit_batch_matmul,
    ops.QDYNAMICMATMUL: emit_dynamic_matmul,
    ops.QDYNAMICBATCHMATMUL: emit_dynamic_batch_matmul,
}
