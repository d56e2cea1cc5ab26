"""Read the tensors of a torch checkpoint into NumPy, without torch and without trusting it.

A checkpoint is a pickle, and a pickle may call anything. This reader knows the few names that
tensors need and refuses every other.
"""

from __future__ import annotations

import collections
import dataclasses
import io
import pickle
from typing import Any

import numpy as np
import numpy.typing as npt

from qcompile.errors import CompileError

Array = npt.NDArray[np.generic]

STORAGES: dict[str, np.dtype[Any]] = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ByteStorage": np.dtype("u1"),
}
HEADERS = 3
"""Pickles before the tensors: a magic number, the protocol, facts about the machine."""


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A view of a storage; offset and strides count elements."""

    key: str
    dtype: np.dtype[Any]
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self, storage: Array) -> Array:
        """Return the view's elements."""
        last = self.offset + sum(
            (n - 1) * s for n, s in zip(self.shape, self.strides, strict=True)
        )
        if min(self.offset, *self.strides, 0) < 0 or last >= len(storage):
            raise CompileError("a tensor reaches beyond its storage", where="checkpoint")
        strides = [step * self.dtype.itemsize for step in self.strides]
        view = np.lib.stride_tricks.as_strided(storage[self.offset :], self.shape, strides)
        return view.copy()


def read_checkpoint(data: bytes) -> dict[str, Array]:
    """Return the tensors of a state dictionary in torch's format from before 1.6, by name.

    Layout: `HEADERS` pickles, the dictionary, the keys of the storages, and each storage as
    its length in elements (int64) and the elements.

    Raises:
        CompileError: It holds more than tensors, or it is damaged.
    """
    file = io.BytesIO(data)
    try:
        for _ in range(HEADERS):
            _Unpickler(file).load()
        tensors: dict[str, Tensor] = _Unpickler(file).load()
        keys: list[str] = _Unpickler(file).load()
        dtypes = {tensor.key: tensor.dtype for tensor in tensors.values()}
        storages = {key: _storage(file, dtypes[key]) for key in keys}
        return {name: tensor.array(storages[tensor.key]) for name, tensor in tensors.items()}
    except (pickle.UnpicklingError, EOFError, KeyError, AttributeError, ValueError) as error:
        raise CompileError(f"not a checkpoint of tensors: {error}") from error


def _storage(file: io.BytesIO, dtype: np.dtype[Any]) -> Array:
    count = int(np.frombuffer(file.read(8), "<i8")[0])
    return np.frombuffer(file.read(count * dtype.itemsize), dtype, count)


class _Unpickler(pickle.Unpickler):
    """An unpickler for which only tensors exist."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if module == "torch" and name in STORAGES:
            return name
        raise pickle.UnpicklingError(f"it names {module}.{name}")

    def persistent_load(self, pid: Any) -> tuple[str, np.dtype[Any]]:
        return str(pid[2]), STORAGES[pid[1]]


def _rebuild_tensor(
    storage: tuple[str, np.dtype[Any]],
    offset: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    *_: object,
) -> Tensor:
    return Tensor(*storage, offset, tuple(shape), tuple(strides))
