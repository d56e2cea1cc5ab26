"""Check the arrays of one run before native code sees them."""

from __future__ import annotations

import difflib
import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from qcompile.errors import CompileError
from qcompile.tensors import Tensor


def check_inputs(inputs: Sequence[Tensor], arrays: Mapping[str, object]) -> None:
    """Refuse arrays that are not what the inputs say.

    Raises:
        CompileError: A missing or unknown name, another type or shape, NaN or infinity.
    """
    if len(arrays) == len(inputs):
        for each in inputs:
            if not _fits(each, arrays.get(each.name)):
                break
        else:
            return
    names = [each.name for each in inputs]
    for name in arrays:
        if name not in names:
            raise CompileError(
                f"the model has no input {name!r}",
                where="inputs",
                hint=nearest(name, names),
            )
    for each in inputs:
        if each.name not in arrays:
            raise CompileError(
                f"no array for input {each.name!r}",
                where="inputs",
                hint=f"given: {', '.join(sorted(arrays)) or 'nothing'}",
            )
        check_array(each, arrays[each.name])


def check_array(tensor: Tensor, array: object) -> None:
    """Refuse an array that does not fit one input."""
    where, dtype, shape = f"input {tensor.name!r}", tensor.dtype, tensor.shape
    if not isinstance(array, np.ndarray):
        raise CompileError(
            f"got {type(array).__name__}, it takes a NumPy array",
            where=where,
            hint=f"np.asarray(x, np.{dtype})",
        )
    if array.dtype != dtype:
        raise CompileError(
            f"got {array.dtype}, it takes {dtype}",
            where=where,
            hint=f"convert it: x.astype(np.{dtype})",
        )
    if array.shape != shape:
        raise CompileError(
            f"got shape {array.shape}, it takes {shape}",
            where=where,
            hint="one run takes exactly the shape that was compiled (see `qcompile inspect`)",
        )
    if not _is_finite(array):
        plain = np.asarray(array)
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(plain))[0])
        raise CompileError(
            f"{plain[index]} at {index}", where=where, hint="inputs must be finite numbers"
        )


def _fits(tensor: Tensor, array: object) -> bool:
    """Whether an array is what one input takes: the same questions as in `check_array`."""
    return (
        isinstance(array, np.ndarray)
        and array.dtype == tensor.dtype
        and array.shape == tensor.shape
        and _is_finite(array)
    )


SMALL = 8192
"""Numbers of which a sum is quicker than a question about each, and takes one thread."""


def _is_finite(array: npt.NDArray[Any]) -> bool:
    """Whether no number is NaN or infinite.

    Of a few numbers the sum says so, each times 2**-14: finite ones stay below the greatest,
    an infinity or a NaN stays in it. A subclass of ndarray (a matrix, a masked array) answers
    for its data, which is what native code reads.
    """
    array = np.asarray(array)
    if array.dtype.kind != "f":
        return True
    if array.size > SMALL or not array.size:
        return bool(np.isfinite(array).all())
    return math.isfinite(np.vdot(array, _weights(array.dtype, array.size)))


@functools.cache
def _weights(dtype: np.dtype[np.generic], size: int) -> npt.NDArray[Any]:
    return np.full(size, 2.0**-14, dtype)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint: the nearest known name, or all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names)}"
