"""The integer graph once more, one number at a time, in Python's own integers and fractions.

Slow and obviously right: no arrays, no float64 tricks. The oracle is tested against this.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

Array = npt.NDArray[np.generic]
RANGES = {ir.DataType.UINT8: (0, 255), ir.DataType.INT8: (-128, 127)}


def to_float32(exact: Fraction) -> float:
    """Round to the nearest float32, ties to even; what is too large becomes infinite."""
    if exact == 0:
        return 0.0
    size = abs(exact)
    power = size.numerator.bit_length() - size.denominator.bit_length()
    power -= Fraction(2) ** power > size  # now 2**power <= size < 2**(power + 1)
    step = Fraction(2) ** max(power - 23, -149)
    rounded = round(exact / step) * step
    return float(rounded) if abs(rounded) < 2**128 else math.copysign(math.inf, exact)


def fma(a: float, b: float, c: float) -> float:
    """Return a * b + c, rounded once."""
    return to_float32(Fraction(a) * Fraction(b) + Fraction(c))


def product(a: float, b: float) -> float:
    """Return a * b in float32."""
    return to_float32(Fraction(a) * Fraction(b))


def quotient(a: float, b: float) -> float:
    """Return a / b in float32."""
    return to_float32(Fraction(a) / Fraction(b))


def last_step(node: ir.Node, t: float) -> float:
    """Return clamp(rint(t) + zero_point, lo, hi), or clamp(t, lo, hi) for a float output."""
    low, high = node.attributes["lo"].as_float(), node.attributes["hi"].as_float()
    if node.attributes["y_dtype"].as_int() == ir.DataType.FLOAT:
        return min(max(t, low), high)
    y = round(Fraction(t)) + node.attributes["y_zero_point"].as_int()
    return int(min(max(y, low), high))


def qconv(node: ir.Node, inputs: Sequence[Array | None]) -> Array:
    x, w, bias, multiplier = (given(inputs, index) for index in range(4))
    stride_h, stride_w = node.attributes["strides"].as_ints()
    dilation_h, dilation_w = node.attributes["dilations"].as_ints()
    top, left, bottom, right = node.attributes["pads"].as_ints()
    batch, _, height, width = x.shape
    filters, depth, kernel_h, kernel_w = w.shape
    per_group = filters // node.attributes["group"].as_int()
    x_zero = node.attributes["x_zero_point"].as_int()
    out_h = (height + top + bottom - (kernel_h - 1) * dilation_h - 1) // stride_h + 1
    out_w = (width + left + right - (kernel_w - 1) * dilation_w - 1) // stride_w + 1
    y = np.zeros((batch, filters, out_h, out_w), output_type(node))
    for n, o, i, j in np.ndindex(y.shape):
        acc = int(bias[o])
        for c, p, q in np.ndindex(depth, kernel_h, kernel_w):
            row, column = (
                i * stride_h - top + p * dilation_h,
                j * stride_w - left + q * dilation_w,
            )
            inside = 0 <= row < height and 0 <= column < width
            source = int(x[n, o // per_group * depth + c, row, column]) if inside else x_zero
            acc += (source - x_zero) * int(w[o, c, p, q])
        y[n, o, i, j] = last_step(
            node, weighted(node, inputs, acc, float(multiplier[o]), (n, o, i, j))
        )
    return y


def qmatmul(node: ir.Node, inputs: Sequence[Array | None]) -> Array:
    x, w, bias, multiplier = (given(inputs, index) for index in range(4))
    x_zero = node.attributes["x_zero_point"].as_int()
    y = np.zeros((*x.shape[:-1], w.shape[1]), output_type(node))
    for at in np.ndindex(y.shape):
        terms = zip(x[at[:-1]].tolist(), w[:, at[-1]].tolist(), strict=True)
        acc = int(bias[at[-1]]) + sum((a - x_zero) * b for a, b in terms)
        y[at] = last_step(node, weighted(node, inputs, acc, float(multiplier[at[-1]]), at))
    return y


def weighted(
    node: ir.Node,
    inputs: Sequence[Array | None],
    acc: int,
    multiplier: float,
    at: tuple[int, ...],
) -> float:
    """Return t of an accumulator, with the residual at that place if there is one."""
    assert -(2**31) <= acc < 2**31
    scaled = to_float32(Fraction(acc))
    if len(inputs) == 4:
        return product(scaled, multiplier)
    residual = given(inputs, 4)
    if residual.dtype == np.float32:
        return fma(scaled, multiplier, float(residual[at]))
    factor = given(inputs, 5)
    r = int(residual[at]) - node.attributes["r_zero_point"].as_int()
    return fma(scaled, multiplier, product(r, float(factor)))


def qadd(node: ir.Node, inputs: Sequence[Array | None]) -> Array:
    a, b, a_multiplier, b_multiplier = (given(inputs, index) for index in range(4))
    a, b = np.broadcast_arrays(a, b)
    y = np.zeros(a.shape, output_type(node))
    for at in np.ndindex(y.shape):
        left = int(a[at]) - node.attributes["a_zero_point"].as_int()
        right = int(b[at]) - node.attributes["b_zero_point"].as_int()
        addend = product(right, float(b_multiplier))
        y[at] = last_step(node, fma(left, float(a_multiplier), addend))
    return y


def qmul(node: ir.Node, inputs: Sequence[Array | None]) -> Array:
    a, b = np.broadcast_arrays(given(inputs, 0), given(inputs, 1))
    multiplier = float(given(inputs, 2))
    y = np.zeros(a.shape, output_type(node))
    for at in np.ndindex(y.shape):
        left = int(a[at]) - node.attributes["a_zero_point"].as_int()
        right = int(b[at]) - node.attributes["b_zero_point"].as_int()
        y[at] = last_step(node, product(left * right, multiplier))
    return y


def qreducesum(node: ir.Node, inputs: Sequence[Array | None]) -> Array:
    x, multiplier = given(inputs, 0), float(given(inputs, 1))
    x_zero = node.attributes["x_zero_point"].as_int()
    kept = dict.fromkeys(np.ndindex(reduced_shape(node, x.shape)), 0)
    for at in np.ndindex(x.shape):
        kept[reduced_place(node, at)] += int(x[at]) - x_zero
    y = np.zeros(reduced_shape(node, x.shape), output_type(node))
    for at, acc in kept.items():
        y[at] = last_step(node, product(to_float32(Fraction(acc)), multiplier))
    return y


def reduced_shape(node: ir.Node, shape: Sequence[int]) -> tuple[int, ...]:
    axes, keepdims = node.attributes["axes"].as_ints(), node.attributes["keepdims"].as_int()
    ones = [1 if axis in axes else size for axis, size in enumerate(shape)]
    return tuple(size for axis, size in enumerate(ones) if keepdims or axis not in axes)


def reduced_place(node: ir.Node, at: tuple[int, ...]) -> tuple[int, ...]:
    axes, keepdims = node.attributes["axes"].as_ints(), node.attributes["keepdims"].as_int()
    place = [0 if axis in axes else index for axis, index in enumerate(at)]
    return tuple(index for axis, index in enumerate(place) if keepdims or axis not in axes)


def qaveragepool(node: ir.Node, inputs: Sequence[Array | None]) -> Array:
    x, multiplier = given(inputs, 0), given(inputs, 1)
    x_zero = node.attributes["x_zero_point"].as_int()
    sizes = window_counts(node, x.shape[2:])
    y = np.zeros((*x.shape[:2], *sizes), output_type(node))
    factors = np.broadcast_to(multiplier, sizes)
    for at in np.ndindex(y.shape):
        acc = sum(int(each) - x_zero for each in window(node, x, at))
        y[at] = last_step(node, product(acc, float(factors[at[2:]])))
    return y


def max_pool(node: ir.Node, inputs: Sequence[Array | None]) -> Array:
    x = given(inputs, 0)
    y = np.zeros((*x.shape[:2], *window_counts(node, x.shape[2:])), x.dtype)
    for at in np.ndindex(y.shape):
        y[at] = max(int(each) for each in window(node, x, at))
    return y


def qsoftmax(node: ir.Node, inputs: Sequence[Array | None]) -> Array:
    x, table, multiplier = (given(inputs, index) for index in range(3))
    axis = node.attributes["axis"].as_int() % x.ndim
    y = np.zeros(x.shape, output_type(node))
    for at in np.ndindex(y.shape):
        row = [int(x[(*at[:axis], k, *at[axis + 1 :])]) for k in range(x.shape[axis])]
        total = sum(int(table[max(row) - each]) for each in row)
        e = to_float32(Fraction(int(table[max(row) - int(x[at])])))
        t = quotient(product(e, float(multiplier)), to_float32(Fraction(total)))
        y[at] = last_step(node, t)
    return y


def qlut(node: ir.Node, inputs: Sequence[Array | None]) -> Array:
    x, table = given(inputs, 0), given(inputs, 1)
    lowest = 0 if x.dtype == np.uint8 else -128
    y = np.zeros(x.shape, table.dtype)
    for at in np.ndindex(x.shape):
        tables = table[at[node.attributes["axis"].as_int()]] if table.ndim == 2 else table
        y[at] = tables[int(x[at]) - lowest]
    return y


def window_counts(node: ir.Node, sizes: Sequence[int]) -> tuple[int, ...]:
    """Return a pool's output sizes, by trying one window after the other."""
    counts = []
    for axis, size in enumerate(sizes):
        kernel, stride, dilation, before, after = geometry(node, axis)
        room = size + before + after - (kernel - 1) * dilation - 1
        count = 0
        while count * stride <= room:
            count += 1
        # ceil_mode: one more where something is left, unless it would start in the padding.
        left_over = (count - 1) * stride < room and count * stride < size + before
        count += ceil_mode(node) and left_over
        counts.append(count)
    return tuple(counts)


def window(node: ir.Node, x: Array, at: tuple[int, ...]) -> list[np.generic]:
    """Return what one output of a pool sees: the inputs inside the tensor."""
    ranges = []
    for axis, size in enumerate(x.shape[2:]):
        kernel, stride, dilation, before, _ = geometry(node, axis)
        places = [at[2 + axis] * stride - before + tap * dilation for tap in range(kernel)]
        ranges.append([place for place in places if 0 <= place < size])
    return [x[(*at[:2], *place)] for place in itertools.product(*ranges)]


def geometry(node: ir.Node, axis: int) -> tuple[int, int, int, int, int]:
    names = ("kernel_shape", "strides", "dilations")
    kernel, stride, dilation = (node.attributes[name].as_ints()[axis] for name in names)
    pads = node.attributes["pads"].as_ints()
    return kernel, stride, dilation, pads[axis], pads[axis + len(pads) // 2]


def ceil_mode(node: ir.Node) -> bool:
    return "ceil_mode" in node.attributes and bool(node.attributes["ceil_mode"].as_int())


def output_type(node: ir.Node) -> npt.DTypeLike:
    return ir.DataType(node.attributes["y_dtype"].as_int()).numpy()


def given(inputs: Sequence[Array | None], index: int) -> Array:
    array = inputs[index]
    assert array is not None
    return array


def qbatchmatmul(node: ir.Node, inputs: Sequence[Array | None]) -> Array:
    a, b, multiplier = (given(inputs, index) for index in range(3))
    points = [node.attributes[f"{name}_zero_point"].as_int() for name in "ab"]
    sums = inner_products(a, b, points[0], points[1])
    y = np.zeros(sums.shape, output_type(node))
    for at in np.ndindex(y.shape):
        scaled = to_float32(Fraction(int(sums[at])))
        y[at] = last_step(node, product(scaled, float(multiplier)))
    return y


def qdynamicmatmul(node: ir.Node, inputs: Sequence[Array | None]) -> Array:
    x, x_scale, x_zero_point, w, w_scale, bias = (given(inputs, index) for index in range(6))
    low, high = (node.attributes[name].as_float() for name in ("lo", "hi"))
    sums = inner_products(x, w, int(x_zero_point), 0)
    y = np.zeros(sums.shape, np.float32)
    for at in np.ndindex(y.shape):
        factor = product(float(x_scale), float(w_scale[at[-1]]))
        t = fma(to_float32(Fraction(int(sums[at]))), factor, float(bias[at[-1]]))
        y[at] = min(max(t, low), high)
    return y


def qdynamicbatchmatmul(node: ir.Node, inputs: Sequence[Array | None]) -> Array:
    a, a_scale, a_zero_point, b, b_scale, b_zero_point = (
        given(inputs, index) for index in range(6)
    )
    sums = inner_products(a, b, int(a_zero_point), int(b_zero_point))
    y = np.zeros(sums.shape, np.float32)
    for at in np.ndindex(y.shape):
        factor = product(float(a_scale), float(b_scale))
        y[at] = product(to_float32(Fraction(int(sums[at]))), factor)
    return y


def inner_products(a: Array, b: Array, a_zero: int, b_zero: int) -> npt.NDArray[np.int64]:
    """Return the sums of products of matrices, as Python's integers."""
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    rows = a.shape[-2:-1] if a.ndim > 1 else ()
    a = np.broadcast_to(a, (*batch, *rows, a.shape[-1]))
    b = np.broadcast_to(b, (*batch, *b.shape[-2:]))
    sums = np.zeros((*batch, *rows, b.shape[-1]), np.int64)
    for at in np.ndindex(sums.shape):
        column = b[(*at[: len(batch)], slice(None), at[-1])].tolist()
        terms = zip(a[at[:-1]].tolist(), column, strict=True)
        total = sum((left - a_zero) * (right - b_zero) for left, right in terms)
        assert -(2**31) <= total < 2**31
        sums[at] = total
    return sums
