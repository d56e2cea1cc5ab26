"""How a stored number becomes what the model wants: order of axes, scale, mean, type."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qcompile.errors import CompileError

Array = npt.NDArray[np.generic]
LAYOUTS = ("nchw", "nhwc")


@dataclasses.dataclass(frozen=True)
class InputSpec:
    """What one input of a model takes.

    Attributes:
        name: Its name.
        dtype: Its element type.
        shape: Its shape, batch included.
    """

    name: str
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]

    @classmethod
    def of(cls, value: ir.Value) -> InputSpec:
        """Return what a graph input of static shape and known type takes."""
        assert value.name is not None
        assert value.dtype is not None
        assert value.shape is not None
        return cls(value.name, value.dtype.numpy(), value.shape.numpy())


@dataclasses.dataclass(frozen=True)
class Preprocess:
    """`(x * scale - mean) / std`, in float64, rounded once; for inputs of floats.

    Attributes:
        scale: Factor, first of all.
        mean: One number, or one a channel.
        std: One number, or one a channel.
        layout: How the stored arrays lie, "nchw" or "nhwc"; None where as the model's. They
            are turned to what the model's shape says; where that fits both, to NCHW.
    """

    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    layout: str | None = None

    def __post_init__(self) -> None:
        if self.layout not in (None, *LAYOUTS):
            raise CompileError(
                f"unknown layout {self.layout!r}", where="--layout", hint="nchw or nhwc"
            )
        for option, numbers in (
            ("scale", (self.scale,)),
            ("mean", self.mean),
            ("std", self.std),
        ):
            if not numbers or not np.isfinite(numbers).all():
                raise CompileError(f"not finite numbers: {numbers}", where=f"--{option}")
        if self.scale == 0:
            raise CompileError(
                "a factor of 0 makes every sample the same",
                where="--scale",
                hint="leave it out where nothing is to be scaled",
            )
        if 0 in self.std:
            raise CompileError("a standard deviation of 0", where="--std")
        if 1 not in (len(self.mean), len(self.std)) and len(self.mean) != len(self.std):
            raise CompileError(
                f"{len(self.mean)} means and {len(self.std)} deviations",
                where="--mean, --std",
                hint="give one number, or one a channel",
            )

    @property
    def channels(self) -> int:
        """How many channels mean and std name; 1 for all alike."""
        return max(len(self.mean), len(self.std))


def convert(
    array: Array,
    spec: InputSpec,
    shape: tuple[int, ...],
    preprocess: Preprocess,
    *,
    where: str,
    layout: str | None = None,
) -> Array:
    """Return a stored array as the model wants it.

    Args:
        array: As it was stored.
        spec: The input it is for.
        shape: The shape of one sample.
        preprocess: What to do with floats.
        where: What to call the array in an error.
        layout: How it lies, where that is known better than from the preprocessing.

    Raises:
        CompileError: Its shape or type does not fit, or a number is not finite.
    """
    stored_layout = layout or preprocess.layout
    check_dtype(array.dtype, spec, where)
    order, layout = fit_axes(array.shape, shape, stored_layout, where)
    array = array.transpose(order)
    if spec.dtype.kind in "iub":
        return _to_integers(array, spec, where)
    if preprocess != Preprocess(layout=preprocess.layout):
        array = _normalize(array, preprocess, layout, where)
    with np.errstate(over="ignore"):
        result = np.asarray(array, spec.dtype, order="C")
    if not np.isfinite(result).all():
        raise CompileError(
            f"holds a number that is NaN or infinite as {spec.dtype}",
            where=where,
            hint="clean the data, or check --scale and --std",
        )
    return result


def check_dtype(dtype: np.dtype[np.generic], spec: InputSpec, where: str) -> None:
    """Refuse a stored type that the input cannot take.

    Raises:
        CompileError: It is not a number, or would lose what follows the point.
    """
    kinds = {"b": "b", "i": "iu", "u": "iu"}.get(spec.dtype.kind, "iufV")
    if dtype.kind not in kinds or (dtype.kind == "V" and dtype != spec.dtype):
        raise CompileError(
            f"is {dtype}, the input {spec.name!r} takes {spec.dtype}",
            where=where,
            hint=f"convert it: array.astype({str(spec.dtype)!r})",
        )


def fit_axes(
    stored: tuple[int, ...], wanted: tuple[int, ...], layout: str | None, where: str
) -> tuple[tuple[int, ...], str | None]:
    """Return the order of axes that turns `stored` into `wanted`, and the layout it has then.

    Raises:
        CompileError: No order that the layout allows gives that shape.
    """
    same = tuple(range(len(stored)))
    orders: dict[str | None, tuple[int, ...]] = {None: same}
    if layout is not None and len(wanted) == 3:
        turned = (2, 0, 1) if layout == "nhwc" else (1, 2, 0)
        orders = {layout: same, "nhwc" if layout == "nchw" else "nchw": turned}
    for model_layout, order in sorted(orders.items(), key=lambda item: item[0] or ""):
        if len(order) == len(stored) and tuple(stored[axis] for axis in order) == wanted:
            return order, model_layout
    turn = [(2, 0, 1), (1, 2, 0)] if len(stored) == len(wanted) == 3 else []
    fits = [order for order in turn if tuple(stored[axis] for axis in order) == wanted]
    lies = "nhwc" if (2, 0, 1) in fits else "nchw"
    raise CompileError(
        f"a sample of shape {list(stored)}, the model takes {list(wanted)}",
        where=where,
        hint=f"say how it lies: --layout {lies}" if fits else "resize or reshape the data",
    )


def _to_integers(array: Array, spec: InputSpec, where: str) -> Array:
    result = np.asarray(array, spec.dtype, order="C")
    if not np.array_equal(result, array):
        raise CompileError(f"{array.dtype} numbers that {spec.dtype} cannot hold", where=where)
    return result


def _normalize(
    array: Array, preprocess: Preprocess, layout: str | None, where: str
) -> npt.NDArray[np.float64]:
    mean, std = np.array(preprocess.mean), np.array(preprocess.std)
    if preprocess.channels > 1:
        ends = {"nchw": (0,), "nhwc": (-1,)}.get(layout or "", (0, -1))
        sizes = {axis: array.shape[axis] for axis in ends if array.ndim}
        axis = next((a for a, size in sizes.items() if size == preprocess.channels), None)
        if axis is None:
            raise CompileError(
                f"{preprocess.channels} channels in --mean or --std, "
                f"none of that size in shape {list(array.shape)}",
                where=where,
                hint="give one number, or one a channel",
            )
        shape = [-1 if a == axis % array.ndim else 1 for a in range(array.ndim)]
        mean = mean.reshape(shape) if mean.size > 1 else mean
        std = std.reshape(shape) if std.size > 1 else std
    floats = array.astype(np.float64)
    return np.asarray((floats * preprocess.scale - mean) / std, np.float64)
