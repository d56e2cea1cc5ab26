"""Check the arrays of one run before native code sees them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from qcompile.errors import CompileError
from qcompile.tensors import Tensor


def check_inputs(inputs: Sequence[Tensor], arrays: Mapping[str, object]) -> None:
    """Refuse arrays that are not what the inputs say.

    Raises:
        CompileError: A missing or unknown name, another type or shape, NaN or infinity.
    """
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
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise CompileError(
            f"{array[index]} at {index}", where=where, hint="inputs must be finite numbers"
        )


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint: the nearest known name, or all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names)}"
