"""What a quantization scheme is, and the scale and zero point that a range leads to."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

INTEGER_RANGES = {
    ir.DataType.INT4: (-8, 7),
    ir.DataType.INT8: (-128, 127),
    ir.DataType.UINT8: (0, 255),
}

MIN_SCALE = 2.0**-40
"""Scale of an activation that is 0 throughout: any would do, this one suits every weight."""

LEAST_SCALE = 2.0**-126
"""Least scale there is: the least normal float32."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuantSpec:
    """How one tensor may be quantized; says nothing about its values.

    Attributes:
        dtype: The integer type that is stored.
        symmetric: Whether the zero point is fixed at the middle of the range.
        per_channel: Whether each output channel has a scale of its own; the axis is the
            operator's affair (Conv 0, ConvTranspose 1, MatMul the last).
        narrow_range: Whether the lowest integer is left unused.
    """

    dtype: ir.DataType
    symmetric: bool
    per_channel: bool = False
    narrow_range: bool = False

    def __post_init__(self) -> None:
        if self.dtype not in INTEGER_RANGES:
            known = ", ".join(sorted(dtype.name for dtype in INTEGER_RANGES))
            raise ValueError(f"dtype must be one of {known}, got {self.dtype.name}")

    @property
    def bounds(self) -> tuple[int, int]:
        """The lowest and highest integer that may be stored."""
        low, high = INTEGER_RANGES[self.dtype]
        return low + self.narrow_range, high

    @property
    def middle(self) -> int:
        """The zero point of a symmetric scheme: 0 for signed types, 128 for uint8."""
        low, high = INTEGER_RANGES[self.dtype]
        return (low + high + 1) // 2


S8 = QuantSpec(dtype=ir.DataType.INT8, symmetric=True, narrow_range=True)
S8_PER_CHANNEL = dataclasses.replace(S8, per_channel=True)
S8_AFFINE = QuantSpec(dtype=ir.DataType.INT8, symmetric=False)
U8 = QuantSpec(dtype=ir.DataType.UINT8, symmetric=False)


@dataclasses.dataclass(frozen=True, eq=False)
class QParams:
    """The scale and zero point that observed values lead to: `real = scale * (q - zero)`.

    Attributes:
        spec: The scheme.
        scale: float32, shape () for per-tensor or (channels,) for per-channel, positive.
        zero_point: Array of the scale's shape in the spec's integer type.
        axis: The channel axis of a per-channel scale; None for per-tensor.
    """

    spec: QuantSpec
    scale: npt.NDArray[np.float32]
    zero_point: npt.NDArray[np.generic]
    axis: int | None = None

    @classmethod
    def from_range(cls, spec: QuantSpec, low: float, high: float) -> QParams:
        """Return per-tensor parameters that cover [low, high] and represent 0 exactly.

        The range is widened to hold 0; one of nothing but 0 gets MIN_SCALE, a tiny one
        LEAST_SCALE at least.
        affine: s = (high - low) / (qmax - qmin), z = qmin - rint(low / s)
        symmetric: s = max(|low|, |high|) / min(qmax - z, z - qmin)

        Raises:
            ValueError: The range is not finite or low > high.
        """
        if not (np.isfinite(low) and np.isfinite(high)) or low > high:
            raise ValueError(f"not a range: [{low}, {high}]")
        low, high = min(float(low), 0.0), max(float(high), 0.0)
        least = LEAST_SCALE if high > low else MIN_SCALE
        qmin, qmax = spec.bounds
        dtype = spec.dtype.numpy()
        if spec.symmetric:
            z = spec.middle
            steps = min(qmax - z, z - qmin)
            scale = np.float32(max(max(-low, high) / steps, least))
        else:
            scale = np.float32(max((high - low) / (qmax - qmin), least))
            z = int(np.clip(qmin - np.rint(low / float(scale)), qmin, qmax))
        return cls(spec, np.asarray(scale), np.asarray(z, dtype))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, QParams) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def quantize(self, x: npt.NDArray[np.floating]) -> npt.NDArray[np.generic]:
        """Round half to even and saturate, as ONNX QuantizeLinear does."""
        low, high = self.spec.bounds
        scale, zero_point = self._broadcast(x.ndim)
        q = np.clip(np.rint(x / scale) + zero_point, low, high)
        return np.asarray(q, dtype=self.zero_point.dtype)

    def dequantize(self, q: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
        """Return `(q - zero_point) * scale`, as ONNX DequantizeLinear does."""
        scale, zero_point = self._broadcast(q.ndim)
        return (q.astype(np.int32) - zero_point).astype(np.float32) * scale

    def _key(self) -> tuple[object, ...]:
        scale, zero_point = self.scale.tobytes(), self.zero_point.tobytes()
        return self.spec, self.axis, self.scale.shape, scale, zero_point

    def _broadcast(self, ndim: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
        zero_point = self.zero_point.astype(np.int32)
        if self.axis is None:
            return self.scale, zero_point
        shape = [-1 if axis == self.axis else 1 for axis in range(ndim)]
        return self.scale.reshape(shape), zero_point.reshape(shape)
