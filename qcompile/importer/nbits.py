"""Weights of a few bits, packed into bytes with a scale for each block: as float constants."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qcompile.importer.expansion import Array, Expansion

PACKED_BITS = (4, 8)
"""How many bits of a packed weight are read."""


def matmul_nbits(expansion: Expansion) -> None:
    """MatMulNBits(A, B, scales, zero_points, g_idx, bias) = MatMul(A, W) + bias.

    W[k, n] = (B[n, k] - zero_point[n, k / block]) * scale[n, k / block]     in float32

    B is uint8[N, blocks, block * bits / 8], the lowest bits first; a zero point that is left
    out is the middle, 2**(bits - 1).

    Raises:
        UnsupportedOpError: Its rows are reordered (g_idx), or its bits are not 4 or 8.
    """
    attributes = expansion.node.attributes
    size_k, size_n = attributes.get_int("K"), attributes.get_int("N")
    bits, block = attributes.get_int("bits", 4), attributes.get_int("block_size")
    if expansion.input(4) is not None:
        expansion.refuse("its rows are reordered by g_idx", "export it without act_order")
    if attributes.get_int("weight_prepacked", 0):
        expansion.refuse("its weights are packed for a GPU", "give them as exported")
    if bits not in PACKED_BITS:
        expansion.refuse(f"its weights have {bits} bits, 4 and 8 are read", "quantize again")
    blocks = -(-size_k // block)
    packed = expansion.number(1, "its weight").reshape(size_n, blocks, -1)
    integers = unpack(packed, bits)[:, :, :block]
    scale = expansion.number(2, "its scales").reshape(size_n, blocks, 1)
    zero_point = _zero_points(expansion, 3, bits, size_n, blocks)
    weight = dequantized(integers, scale, zero_point).reshape(size_n, -1)[:, :size_k]
    w = expansion.constant("weight", np.ascontiguousarray(weight.T))
    y = expansion.emit("MatMul", [expansion.needed(0), w])
    bias = expansion.input(5)
    expansion.finish(y if bias is None else expansion.emit("Add", [y, bias], label="bias"))


def gather_block_quantized(expansion: Expansion) -> None:
    """GatherBlockQuantized(data, indices, scales, zero_points) = Gather(real data, indices).

    Raises:
        UnsupportedOpError: uint8 data that is not packed along its last axis.
    """
    attributes = expansion.node.attributes
    data = expansion.number(0, "its data")
    bits, block = attributes.get_int("bits", 4), attributes.get_int("block_size", 128)
    axis = attributes.get_int("quantize_axis", 1) % data.ndim
    packed = data.dtype == np.uint8
    if packed and axis != data.ndim - 1:
        expansion.refuse("its bytes are not blocked along the last axis", "quantize again")
    if packed and bits not in PACKED_BITS:
        expansion.refuse(f"its weights have {bits} bits, 4 and 8 are read", "quantize again")
    integers = unpack(data, bits) if packed else data.astype(np.int32)
    scale = expansion.number(2, "its scales")
    zero_point = np.asarray(1 << (bits - 1) if packed else 0)
    if expansion.input(3) is not None:
        given = expansion.number(3, "its zero points")
        zero_point = unpack(given, bits) if packed else given.astype(np.int32)
        zero_point = zero_point[..., : scale.shape[-1]]
        zero_point = spread(zero_point, block, axis, integers.shape[axis])
    real = dequantized(integers, spread(scale, block, axis, integers.shape[axis]), zero_point)
    table = expansion.constant("table", real)
    gather = {"axis": attributes.get_int("gather_axis", 0)}
    expansion.finish(expansion.emit("Gather", [table, expansion.needed(1)], gather))


def unpack(packed: Array, bits: int) -> npt.NDArray[np.int32]:
    """Return the numbers in bytes along the last axis, the lowest bits first."""
    shifts = np.arange(0, 8, bits)
    parts = (packed.astype(np.int32)[..., None] >> shifts) & ((1 << bits) - 1)
    return parts.reshape(*packed.shape[:-1], -1).astype(np.int32)


def spread(parameters: Array, block: int, axis: int, size: int) -> Array:
    """Return each number once for every element of its block, `size` along `axis`."""
    return np.repeat(parameters, block, axis=axis).take(np.arange(size), axis=axis)


def dequantized(integers: Array, scale: Array, zero_point: Array) -> npt.NDArray[np.float32]:
    """Return `float32(q - zero_point) * scale`, as DequantizeLinear computes it."""
    steps = integers.astype(np.float32) - zero_point.astype(np.float32)
    return np.asarray(steps * scale.astype(np.float32), np.float32)


def _zero_points(expansion: Expansion, index: int, bits: int, rows: int, blocks: int) -> Array:
    """Return the zero points of MatMulNBits as [rows, blocks, 1]; a float one is real."""
    if expansion.input(index) is None:
        return np.full((rows, blocks, 1), 1 << (bits - 1))
    given = expansion.number(index, "its zero points")
    if given.dtype == np.uint8:
        given = unpack(given.reshape(rows, -1), bits)[:, :blocks]
    return given.reshape(rows, blocks, 1)


FORMS = {"MatMulNBits": matmul_nbits, "GatherBlockQuantized": gather_block_quantized}
"""Of the domain com.microsoft."""
