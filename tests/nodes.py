"""Nodes of the integer graph and random arrays for them, the way several tests want them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from hypothesis import strategies as st

from qcompile.ops import DOMAIN
from qcompile.quant import INTEGER_RANGES

Attribute = int | float | str | list[int]
Numbers = npt.NDArray[np.integer]


def qnode(op_type: str, inputs: int, **attributes: Attribute) -> ir.Node:
    """Return a node of the domain `qcompile`, named after its operator."""
    return node(op_type, inputs, DOMAIN, **attributes)


def node(op_type: str, inputs: int, domain: str = "", /, **attributes: Attribute) -> ir.Node:
    """Return a node that stands in no graph, with that many inputs."""
    values = [ir.val(f"input_{index}") for index in range(inputs)]
    return ir.node(op_type, values, domain=domain, attributes=attributes, name=op_type.lower())


def draw_integers(
    rng: np.random.Generator, shape: tuple[int, ...], dtype: ir.DataType
) -> Numbers:
    """Return integers of the whole range, or, one time in two, only its two ends."""
    low, high = INTEGER_RANGES[dtype]
    ends = rng.choice([low, high], shape)
    values = ends if rng.random() < 0.5 else rng.integers(low, high + 1, shape)
    return np.asarray(values, dtype.numpy())


def draw_zero_point(rng: np.random.Generator, dtype: ir.DataType) -> int:
    """Return a zero point: often an end of the range."""
    low, high = INTEGER_RANGES[dtype]
    return (low, high, 0, int(rng.integers(low, high + 1)))[rng.integers(4)]


def draw_last_step(rng: np.random.Generator) -> dict[str, Attribute]:
    """Return y_dtype, y_zero_point, lo and hi; a float output one time in four."""
    types = (ir.DataType.UINT8, ir.DataType.INT8, ir.DataType.UINT8, ir.DataType.FLOAT)
    y_dtype = types[rng.integers(len(types))]
    if y_dtype == ir.DataType.FLOAT:
        lo, hi = sorted(rng.normal(size=2) * 10) if rng.random() < 0.5 else (-np.inf, np.inf)
        lo, hi = float(np.float32(lo)), float(np.float32(hi))
        return {"y_dtype": 1, "y_zero_point": 0, "lo": lo, "hi": hi}
    low, high = INTEGER_RANGES[y_dtype]
    lo, hi = (low, high) if rng.random() < 0.5 else sorted(rng.integers(low, high + 1, 2))
    return {
        "y_dtype": int(y_dtype),
        "y_zero_point": draw_zero_point(rng, y_dtype),
        "lo": float(lo),
        "hi": float(hi),
    }


def draw_multiplier(
    rng: np.random.Generator, shape: tuple[int, ...]
) -> npt.NDArray[np.float32]:
    """Return multipliers: powers of two, where ties are frequent, or any, over 12 binades."""
    exponents = np.ldexp(1.0, rng.integers(-12, 1, shape))
    mantissas = 1.0 if rng.random() < 0.3 else rng.uniform(1, 2, shape)
    return np.asarray(exponents * mantissas, np.float32)


seeds = st.integers(0, 2**32 - 1)
activation_types = st.sampled_from([ir.DataType.UINT8, ir.DataType.INT8])
