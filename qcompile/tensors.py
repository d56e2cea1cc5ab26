"""What a run takes and gives: names, types and shapes, without ONNX."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclasses.dataclass(frozen=True)
class Tensor:
    """One input or output of a compiled model.

    Attributes:
        name: Its name in the model.
        dtype: Its NumPy type.
        shape: Its static shape.
    """

    name: str
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]

    @classmethod
    def of(cls, value: ir.Value) -> Tensor:
        """Return what a value of a graph with static shapes is."""
        assert value.dtype is not None, value.name
        assert value.shape is not None, value.name
        shape = tuple(int(size) for size in value.shape.numpy())
        return cls(str(value.name), value.dtype.numpy(), shape)

    def __str__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


def interface_text(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> str:
    """Return a line for each: `input float32 1,3,224,224 "image"`; a scalar's shape is `-`."""
    return "".join(
        f"{kind} {each.dtype.name} {','.join(map(str, each.shape)) or '-'} "
        f"{json.dumps(each.name)}\n"
        for kind, tensors in (("input", inputs), ("output", outputs))
        for each in tensors
    )


def read_interface(text: str) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Return the inputs and the outputs of such a text.

    Raises:
        ValueError: It is none.
    """
    found: dict[str, list[Tensor]] = {"input": [], "output": []}
    for line in text.splitlines():
        kind, dtype, sizes, name = line.split(" ", 3)
        shape = () if sizes == "-" else tuple(map(int, sizes.split(",")))
        if kind not in found:
            raise ValueError(f"no line of an interface: {line!r}")
        found[kind].append(Tensor(json.loads(name), np.dtype(dtype), shape))
    return tuple(found["input"]), tuple(found["output"])
