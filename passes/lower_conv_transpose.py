"""Write a ConvTranspose as a Conv whose outputs are the phases of the larger image."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qcompile.graphs.building import Builder
from qcompile.graphs.phases import phase_kernel, taps
from qcompile.graphs.qdq import node_grid
from qcompile.graphs.rewriting import Names, new_type
from qcompile.regions import constant, sole_user
from qcompile.unary import UNARY_OPS

Array = npt.NDArray[np.generic]


@dataclasses.dataclass(frozen=True)
class LowerConvTranspose(ir.passes.InPlacePass):
    """Replace `ConvTranspose(x, W, b)` by a Conv, an interleaving of its channels and a Slice.

    y[n, o, s q + r] = Conv(x, W')[n, (o, r), q]    W'[(o, r), c, u] = W[c, o, r + s (T-1-u)]

    with T = ceil(kernel / s) taps a phase r, 0 <= r < s, an axis (the sub-pixel convolution
    of Shi et al., 2016): Reshape, Transpose and Reshape bring the phases side by side. Dilated
    kernels are spread with zeros first; pads become fewer pads of the Conv and, what is left,
    a Slice. Groups stay. Functions of one number that follow, and the QuantizeLinear of a
    QDQ graph, are computed before the phases are moved, beside the Conv. A quantized W (or b)
    behind a DequantizeLinear, per tensor or per output channel, stays quantized: its integers
    move, its scales are repeated.

    Kept: a computed weight or bias, scales along another axis or in blocks; auto_pad and
    output_shape (ResolveAutoPad runs first); an image whose size is not known.

    Example:
        before:
            g (float[1,1,3,3] x) => (float[1,1,6,6] y)
            <float[1,1,2,2] w = {1.0, 2.0, 3.0, 4.0}>
            { y = ConvTranspose <strides = [2, 2]> (x, w) }
        after:
            g (float[1,1,3,3] x) => (float[1,1,6,6] y)
            <float[4,1,1,1] w = {1.0, 2.0, 3.0, 4.0}, int64[6] phases = {1, 1, 2, 2, 3, 3},
             int64[4] image = {1, 1, 6, 6}>
            { c = Conv <kernel_shape = [1, 1], strides = [1, 1], pads = [0, 0, 0, 0],
                        dilations = [1, 1], group = 1> (x, w)
              s = Reshape (c, phases)  t = Transpose <perm = [0, 1, 4, 2, 5, 3]> (s)
              y = Reshape (t, image) }
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Return the model and whether any ConvTranspose was replaced."""
        names = Names(model)
        modified = False
        for node in ir.traversal.RecursiveGraphIterator(model.graph):
            geometry = find_geometry(node)
            weight = stored(node.inputs[1], axis=1) if geometry is not None else None
            if geometry is None or weight is None:
                continue
            bias = node.inputs[2] if len(node.inputs) > 2 else None
            offset = stored(bias, axis=0)
            if bias is not None and offset is None:
                continue
            lower(node, geometry, weight, offset, names)
            modified = True
        return ir.passes.PassResult(model, modified)


@dataclasses.dataclass(frozen=True)
class Geometry:
    """The sizes of a transposed convolution; tuples have one number a spatial axis."""

    image: tuple[int, ...]
    batch: int
    outputs: int
    group: int
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begins: tuple[int, ...]
    size: tuple[int, ...]

    def taps(self, axis: int) -> int:
        """Return how many taps a phase has, zeros beyond the kernel's last output included."""
        span = (self.kernel[axis] - 1) * self.dilations[axis] + 1
        last = (self.image[axis] - 1) * self.strides[axis] + span
        room = self.begins[axis] + self.size[axis] - last
        return taps(self.kernel[axis], self.dilations[axis], self.strides[axis], room)

    def pads(self, axis: int) -> tuple[int, int]:
        """Return the pads of the Conv: T - 1 on both sides, less what would be cut off."""
        reach, stride = self.taps(axis) - 1, self.strides[axis]
        surplus = (self.image[axis] + reach) * stride - self.begins[axis] - self.size[axis]
        return (
            max(reach - self.begins[axis] // stride, 0),
            max(reach - surplus // stride, 0),
        )

    def steps(self, axis: int) -> int:
        """Return how many positions the Conv computes."""
        return self.image[axis] + sum(self.pads(axis)) - self.taps(axis) + 1

    def skipped(self, axis: int) -> int:
        """Return where the answer begins among the interleaved phases."""
        begin, _ = self.pads(axis)
        return self.begins[axis] - (self.taps(axis) - 1 - begin) * self.strides[axis]


@dataclasses.dataclass(frozen=True)
class Stored:
    """A constant, or the integers of one behind a DequantizeLinear."""

    array: Array
    dequantize: ir.Node | None


def find_geometry(node: ir.Node) -> Geometry | None:
    """Return the sizes of a ConvTranspose, if they are all known."""
    if node.op_type != "ConvTranspose" or node.domain not in ("", "ai.onnx"):
        return None
    x, weight, y = node.inputs[0], node.inputs[1], node.outputs[0]
    if node.attributes.get_string("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return None
    if "output_shape" in node.attributes or x is None or weight is None:
        return None
    shapes = [value.shape for value in (x, weight, y)]
    if any(shape is None or not shape.is_static() for shape in shapes):
        return None
    sizes, filters, result = (list(shape.numpy()) if shape else [] for shape in shapes)
    rank = len(sizes) - 2
    pads = node.attributes.get_ints("pads", [0] * 2 * rank)
    group = node.attributes.get_int("group", 1)
    return Geometry(
        image=tuple(sizes[2:]),
        batch=sizes[0],
        outputs=filters[1] * group,
        group=group,
        kernel=tuple(filters[2:]),
        strides=tuple(node.attributes.get_ints("strides", [1] * rank)),
        dilations=tuple(node.attributes.get_ints("dilations", [1] * rank)),
        begins=tuple(pads[:rank]),
        size=tuple(result[2:]),
    )


def stored(value: ir.Value | None, *, axis: int) -> Stored | None:
    """Return a constant float, or integers with one scale or one a channel of `axis`."""
    array = constant(value)
    producer = value.producer() if value is not None else None
    if value is None or array is not None or producer is None:
        return None if array is None else Stored(array, None)
    if producer.op_type != "DequantizeLinear" or producer.attributes.get_int("block_size"):
        return None
    integers, *parameters = producer.inputs
    array = constant(integers)
    arrays = [constant(each) for each in parameters if each is not None]
    if array is None or not arrays or any(each is None for each in arrays):
        return None
    along = producer.attributes.get_int("axis", 1) % array.ndim
    if any(each is not None and each.ndim and along != axis for each in arrays):
        return None
    return Stored(array, producer)


def lower(
    node: ir.Node, geometry: Geometry, weight: Stored, bias: Stored | None, names: Names
) -> None:
    """Put the Conv, the moves and the Slice in the place of the node."""
    *functions, last = chain(node)
    build = Builder(names, last, node.name or "")
    rank, strides = len(geometry.image), geometry.strides
    phases = math.prod(strides)
    sizes = tuple(geometry.taps(axis) for axis in range(rank))
    zero_point = _parameter(weight, 2)
    kernel = phase_kernel(
        weight.array,
        group=geometry.group,
        strides=strides,
        dilations=geometry.dilations,
        sizes=sizes,
        fill=0 if zero_point is None else zero_point,
    )
    inputs = [
        node.inputs[0],
        _restore(build, weight, kernel, geometry.group, phases, "weight"),
    ]
    if bias is not None:
        row = np.repeat(bias.array, phases)
        inputs.append(_restore(build, bias, row, 1, phases, "bias"))
    pads = [geometry.pads(axis) for axis in range(rank)]
    steps = [geometry.steps(axis) for axis in range(rank)]
    y = build.op(
        "Conv",
        inputs,
        {
            "kernel_shape": sizes,
            "strides": [1] * rank,
            "pads": [*(begin for begin, _ in pads), *(end for _, end in pads)],
            "dilations": [1] * rank,
            "group": geometry.group,
        },
        shape=[geometry.batch, geometry.outputs * phases, *steps],
    )
    conv = y.producer()
    assert conv is not None
    restored = [part.dequantize for part in (weight, bias) if part and part.dequantize]
    made = [(conv, node)]
    for step in (*functions[1:], last) if last is not node else ():
        y = build.op(step.op_type, [y, *step.inputs[1:]], shape=y.shape)
        same = y.producer()
        assert same is not None
        same.attributes.update(step.attributes)
        made.append((same, step))
    y = _quantized_alike(build, y)
    build.replace(_interleave(build, y, geometry), others=(*functions[::-1], *restored))
    for new, old in made:
        new.name = old.name


def chain(node: ir.Node) -> list[ir.Node]:
    """Return the node and the functions of one number after it that only it leads to."""
    nodes = [node]
    while True:
        value = nodes[-1].outputs[0]
        user = sole_user(value)
        if user is None or user.op_type not in UNARY_OPS or user.inputs[0] is not value:
            return nodes
        if user.domain not in ("", "ai.onnx") or user.graph is not node.graph:
            return nodes
        nodes.append(user)


def _interleave(build: Builder, y: ir.Value, geometry: Geometry) -> ir.Value:
    """Return the phases side by side, cut to the size that is asked for."""
    rank, strides = len(geometry.image), geometry.strides
    steps = [geometry.steps(axis) for axis in range(rank)]
    large = [step * stride for step, stride in zip(steps, strides, strict=True)]
    if math.prod(strides) > 1:
        order = [n for axis in range(rank) for n in (2 + rank + axis, 2 + axis)]
        y = build.rearrange(
            y,
            [geometry.batch, geometry.outputs, *strides, *steps],
            [0, 1, *order],
            [geometry.batch, geometry.outputs, *large],
        )
    if large == list(geometry.size):
        return y
    axes = [axis for axis in range(rank) if large[axis] != geometry.size[axis]]
    starts = [geometry.skipped(axis) for axis in axes]
    ends = [start + geometry.size[axis] for start, axis in zip(starts, axes, strict=True)]
    return build.op(
        "Slice",
        [
            y,
            build.integers(starts, "starts"),
            build.integers(ends, "ends"),
            build.integers([2 + axis for axis in axes], "axes"),
        ],
        shape=[geometry.batch, geometry.outputs, *geometry.size],
    )


def _quantized_alike(build: Builder, y: ir.Value) -> ir.Value:
    """Quantize y as the only reader of the answer does, so that integers are moved."""
    reader = sole_user(build.old.outputs[0])
    grid = node_grid(reader) if reader is not None else None
    if reader is None or reader.op_type != "QuantizeLinear" or grid is None:
        return y
    quantize = build.names.quantize(build.graph, y, grid)
    dequantize = build.names.dequantize(build.graph, quantize.outputs[0], grid)
    build.graph.insert_before(build.old, [quantize, dequantize])
    return dequantize.outputs[0]


def _restore(
    build: Builder, old: Stored, array: Array, copies: int, phases: int, role: str
) -> ir.Value:
    """Return the array as an initializer, behind a DequantizeLinear where it was."""
    value = build.constant(array, role)
    if old.dequantize is None:
        return value
    channels = old.array.shape[1 if role == "weight" else 0]
    parameters = []
    for index, name in ((1, "scale"), (2, "zero_point")):
        numbers = _parameter(old, index)
        if numbers is None:
            continue
        if numbers.ndim and numbers.size == channels:
            numbers = np.repeat(np.tile(numbers, copies), phases)
        parameters.append(build.constant(numbers, f"{role}_{name}"))
    y = build.op("DequantizeLinear", [value, *parameters], {"axis": 0}, shape=array.shape)
    y.type = new_type(old.dequantize.outputs[0])
    return y


def _parameter(old: Stored, index: int) -> Array | None:
    inputs = old.dequantize.inputs if old.dequantize is not None else ()
    return constant(inputs[index]) if len(inputs) > index else None
