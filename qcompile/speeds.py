"""What operators take on one family of hardware: the numbers that a choice hangs on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

OTHER = "other"
"""The row of operators that have none of their own."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Speeds:
    """Times on one thread; only their ratios matter.

    Attributes:
        source: The command that measured them.
        dots: Multiply-accumulates of integers in a nanosecond.
        fmas: Those of floats.
        launch: Nanoseconds that any kernel takes.
        quantize: Nanoseconds an element of a QuantizeLinear.
        dequantize: The same of a DequantizeLinear.
        operators: By operator, nanoseconds an element in integers and in float; "other" for
            the rest. Of a pool: with nine taps.
    """

    source: str
    dots: float
    fmas: float
    launch: float
    quantize: float
    dequantize: float
    operators: Mapping[str, tuple[float, float]] = dataclasses.field(hash=False)

    def __post_init__(self) -> None:
        if OTHER not in self.operators:
            raise ValueError(f"no row {OTHER!r} among the operators")

    def of(self, op_type: str) -> tuple[float, float]:
        """Return the nanoseconds an element of an operator: in integers, and in float."""
        return self.operators.get(op_type) or self.operators[OTHER]
