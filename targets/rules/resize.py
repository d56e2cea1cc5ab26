"""QResize: linear interpolation along the last two axes."""

from __future__ import annotations

import math

import onnx_ir as ir

from qcompile import ops
from qcompile.targets.emitter import Emitter
from qcompile.targets.kernels.resize import Resize
from qcompile.targets.kernels.view import View
from qcompile.targets.layout import Layout
from qcompile.targets.plan import static_shape
from qcompile.targets.rules.operands import dtype_of, epilogue_of, operand, vector


def emit_resize(node: ir.Node, emit: Emitter) -> None:
    """Emit a QResize of images, or of any other tensor as images of one channel."""
    x, y = operand(node, 0), node.outputs[0]
    shape = static_shape(y)
    target = emit.layouts.get(y)
    if target is None:  # floats: images as x is; one channel lies alike as rows
        image = emit.layout(x).image and shape[1] > 1
        target = Layout.spatial(shape, emit.isa.channels) if image else Layout.rows(shape)
    template = Resize(
        x=as_images(emit.view(x)),
        y=as_images(View.of(shape, target)),
        dtype=dtype_of(x),
        x_zero_point=node.attributes["x_zero_point"].as_int(),
        epilogue=epilogue_of(node),
        lanes=emit.isa.lanes,
        parallel=emit.worth_threads(target.size),
    )
    tables = [vector(node, index) for index in range(1, 6)]
    emit.produce(node, template, [emit.buffer(x), *tables], layout=target)


def as_images(view: View) -> View:
    """Return the view itself if it is of images; else its last two axes as images."""
    if view.layout.image:
        return view
    *before, h, w = view.axes
    stride = before[-1][1] if before else 0  # of rows, all the axes before are one
    axes = [(math.prod(view.shape[:-2]), stride), (1, 0), h, w]
    shape, strides = (tuple(numbers) for numbers in zip(*axes, strict=True))
    return View(view.layout, shape, strides, view.offset)


RULES = {ops.QRESIZE: emit_resize}
