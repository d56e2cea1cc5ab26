"""Read the tensors of a safetensors file into NumPy.

Layout: the header's length (uint64, little-endian), the header in JSON (name -> dtype, shape
and the range of bytes), the bytes.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt

from qcompile.errors import CompileError

Array = npt.NDArray[np.generic]

DTYPES = {"F32": "<f4", "F16": "<f2", "I64": "<i8"}


def read_safetensors(data: bytes) -> dict[str, Array]:
    """Return the tensors by name.

    Raises:
        CompileError: A tensor's type is not known here, or the file is damaged.
    """
    try:
        start = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:start])
        header.pop("__metadata__", None)
        return {name: _tensor(data[start:], facts) for name, facts in header.items()}
    except (ValueError, KeyError, TypeError) as error:
        raise CompileError(f"not a file of tensors: {error}", where="safetensors") from error


def _tensor(data: bytes, facts: dict[str, Any]) -> Array:
    begin, end = facts["data_offsets"]
    return np.frombuffer(data[begin:end], DTYPES[facts["dtype"]]).reshape(facts["shape"])
