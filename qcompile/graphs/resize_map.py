"""Where a Resize reads: the position in x of every index of y, axis by axis."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qcompile.numerics import F32
from qcompile.regions import constant

Array = npt.NDArray[np.generic]
Indices = npt.NDArray[np.int32]

WEIGHT_BITS = 11
"""Linear weights are multiples of 2**-11: of both axes 2**-22, so a sum fits in int32."""

CROP = "tf_crop_and_resize"
HALF = np.float32(0.5)
ONE = np.float32(1)
TIE = np.float32(1e-5)
"""How near a half still is one: a scale was rounded, and with it the positions."""


@dataclasses.dataclass(frozen=True)
class ResizedAxis:
    """What a Resize does to one axis, in float32 as onnxruntime does.

    Attributes:
        size: Elements of x.
        count: Elements of y.
        scale: Between the two; not always their ratio.
        start: Where tf_crop_and_resize begins, 0 to 1.
        end: Where it ends.
    """

    size: int
    count: int
    scale: np.float32
    start: float = 0.0
    end: float = 1.0

    def positions(self, transformation: str) -> F32:
        """Return the position in x of every index of y: float32[count]."""
        y = np.arange(self.count, dtype=np.float32)
        return y if self.scale == 1 else TRANSFORMATIONS[transformation](self, y)

    def nearest(self, positions: F32, rounding: str) -> Indices:
        """Return the index in x of every index of y: int32[count]."""
        if self.scale == 1:
            return positions.astype(np.int32)
        index = ROUNDINGS[rounding](positions)
        return np.clip(index, 0, self.size - 1).astype(np.int32)

    def linear(self, positions: F32) -> tuple[Indices, Indices]:
        """Return the two neighbours of every index of y and their weights: int32[count, 2].

        The weights of one y sum to exactly 2**11. Each is rounded by at most half of 2**-11,
        so an axis errs by no more than 2**-12 of the difference of two neighbours: two axes
        by less than 1/8 of a step, 255 steps apart at most.
        """
        inside = np.clip(positions, np.float32(0), np.float32(self.size - 1))
        first = np.floor(inside)
        second = np.rint((inside - first) * (1 << WEIGHT_BITS)).astype(np.int32)
        index = first.astype(np.int32)
        neighbours = np.stack([index, np.minimum(index + 1, self.size - 1)], axis=1)
        return neighbours, np.stack([(1 << WEIGHT_BITS) - second, second], axis=1)


def _symmetric(axis: ResizedAxis, y: F32) -> F32:
    """Keep the middle of the two where it is, though the scale is not their ratio.

    onnxruntime takes this one through float64.
    """
    adjustment = np.float32(axis.count) / (axis.scale * np.float32(axis.size))
    offset = np.float32(axis.size) / 2 * (ONE - adjustment)
    quotient = (y.astype(np.float64) + 0.5) / np.float64(axis.scale)
    return (np.float64(offset) + quotient - 0.5).astype(np.float32)


def _crop(axis: ResizedAxis, y: F32) -> F32:
    start, end = np.float32(axis.start), np.float32(axis.end)
    last = np.float32(axis.size - 1)
    if axis.count == 1:
        return np.full_like(y, HALF * (start + end) * last)
    step = (end - start) * last / np.float32(axis.count - 1)
    return np.asarray(start * last + y * step, np.float32)


TRANSFORMATIONS: dict[str, Callable[[ResizedAxis, F32], F32]] = {
    "half_pixel": lambda axis, y: (y + HALF) / axis.scale - HALF,
    "half_pixel_symmetric": _symmetric,
    "pytorch_half_pixel": lambda axis, y: (
        (y + HALF) / axis.scale - HALF if axis.count > 1 else np.zeros_like(y)
    ),
    "tf_half_pixel_for_nn": lambda axis, y: (y + HALF) / axis.scale,
    "asymmetric": lambda axis, y: y / axis.scale,
    "align_corners": lambda axis, y: (
        y * np.float32(axis.size - 1) / np.float32(max(1, axis.count - 1))
    ),
    CROP: _crop,
}
"""coordinate_transformation_mode -> its formula."""

ROUNDINGS: dict[str, Callable[[F32], F32]] = {
    "round_prefer_floor": lambda x: np.ceil(x - HALF - TIE),
    "round_prefer_ceil": lambda x: np.floor(x + HALF + TIE),
    "floor": np.floor,
    "ceil": np.ceil,
}
"""nearest_mode -> its rounding."""


def resized_axes(
    node: ir.Node,
    shape: Sequence[int],
    roi: Array | None,
    scales: Array | None,
    sizes: Array | None,
) -> tuple[ResizedAxis, ...]:
    """Return what a Resize does to each axis of a tensor of that shape.

    Either `scales` or `sizes` holds numbers, one for each of the node's `axes`.
    """
    rank = len(shape)
    axes = [axis % rank for axis in node.attributes.get_ints("axes", tuple(range(rank)))]
    dims = np.asarray([shape[axis] for axis in axes], np.float32)
    if scales is not None and scales.size:
        factors = scales.reshape(-1).astype(np.float32)
        counts = np.floor(factors * dims)
    else:
        assert sizes is not None
        counts = sizes.reshape(-1)
        factors = counts.astype(np.float32) / dims
        policy = node.attributes.get_string("keep_aspect_ratio_policy", "stretch")
        if policy != "stretch":
            factor = factors.min() if policy == "not_larger" else factors.max()
            factors = np.full_like(factors, factor)
            counts = np.floor(factors * dims + HALF)
    whole = [ResizedAxis(size, size, ONE) for size in shape]
    cropped = node.attributes.get_string("coordinate_transformation_mode", "") == CROP
    for at, axis in enumerate(axes):
        whole[axis] = ResizedAxis(shape[axis], int(counts[at]), factors[at])
        if cropped and roi is not None:
            start, end = float(roi[at]), float(roi[at + len(axes)])
            whole[axis] = dataclasses.replace(whole[axis], start=start, end=end)
    return tuple(whole)


def constant_axes(node: ir.Node) -> tuple[ResizedAxis, ...] | None:
    """Return what a Resize does to each axis, or None where that is known only at run time."""
    x = node.inputs[0]
    parameters = [*node.inputs[1:], None, None, None][:3]
    arrays = [constant(value) for value in parameters]
    unknown = any(
        value is not None and array is None
        for value, array in zip(parameters, arrays, strict=True)
    )
    if unknown or x is None or x.shape is None or not x.shape.is_static():
        return None
    if all(array is None or not array.size for array in arrays[1:]):
        return None
    return resized_axes(node, [int(size) for size in x.shape.numpy()], *arrays)


def transformed(node: ir.Node, axes: Sequence[ResizedAxis]) -> tuple[F32, ...] | None:
    """Return the positions along each axis; None where one lies outside and counts as such.

    Only tf_crop_and_resize gives what lies outside a value of its own.
    """
    mode = node.attributes.get_string("coordinate_transformation_mode", "half_pixel")
    positions = tuple(axis.positions(mode) for axis in axes)
    outside = any(
        at.size and (at.min() < 0 or at.max() > axis.size - 1)
        for at, axis in zip(positions, axes, strict=True)
    )
    return None if mode == CROP and outside else positions


def nearest_indices(node: ir.Node, axes: Sequence[ResizedAxis]) -> tuple[Indices, ...] | None:
    """Return the indices in x along each axis of a nearest Resize; None as `transformed`."""
    positions = transformed(node, axes)
    if positions is None:
        return None
    rounding = node.attributes.get_string("nearest_mode", "round_prefer_floor")
    return tuple(axis.nearest(at, rounding) for axis, at in zip(axes, positions, strict=True))


def why_not_mapped(node: ir.Node) -> str | None:
    """Return why a Resize is no choice or average of neighbours that are known beforehand."""
    mode = node.attributes.get_string("mode", "nearest")
    if mode == "cubic":
        return "mode is cubic, the kernels take nearest and linear"
    if node.attributes.get_int("antialias", 0) and mode == "linear":
        return "it asks for antialiasing"
    axes = constant_axes(node)
    if axes is None:
        return "its sizes are known only at run time"
    if transformed(node, axes) is None:
        return "it extrapolates beyond the image"
    if mode == "linear" and any(axis.scale != 1 for axis in axes[:-2]):
        return "it interpolates along other axes than the last two"
    return None
