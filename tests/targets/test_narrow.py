"""Real results narrowed together to 8 bits: the oracle's last step, at every extreme."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as tir

from qcompile.numerics import finish
from qcompile.targets.isa import Isa
from qcompile.targets.kernels.epilogue import Epilogue, span
from qcompile.targets.kernels.interleave import channel_order
from tests.targets.test_isa import ISAS, run

NARROWING = [each for each in ISAS if getattr(each, "values", [each])[0].narrow is not None]
DTYPES = {"uint8": ir.DataType.UINT8, "int8": ir.DataType.INT8}


def narrowing(isa: Isa, epilogue: Epilogue, vectors: int, *, quad: bool) -> Any:
    """Return a function that stores `vectors` vectors of real results."""
    size = vectors * isa.lanes
    with IRBuilder() as builder, tir.prim_func():
        tir.func_name("main")
        t = tir.arg("t", tir.Buffer((size,), "float32"))
        y = tir.arg("y", tir.Buffer((size,), epilogue.dtype))
        tir.func_attr({"tirx.noalias": True})
        results = [t[span(i * isa.lanes, isa.lanes)] for i in range(vectors)]
        narrow = isa.narrow_quad if quad else isa.narrow
        assert narrow is not None
        tir.buffer_store(y, narrow(results, epilogue), [span(0, size)])
    return builder.get()


@pytest.mark.parametrize("isa", NARROWING, ids=lambda isa: isa.name)
@pytest.mark.parametrize("vectors", [2, 4])
@pytest.mark.parametrize(
    ("dtype", "zero_point", "lo", "hi"),
    [
        ("uint8", 0, 0, 255),
        ("uint8", 255, 0, 255),
        ("uint8", 7, 7, 90),
        ("int8", -128, -128, 127),
        ("int8", 127, -128, 127),
        ("int8", 3, -20, 3),
    ],
)
@pytest.mark.parametrize("bounded", [True, False])
def test_narrow_is_the_last_step(
    isa: Isa, vectors: int, dtype: str, zero_point: int, lo: int, hi: int, *, bounded: bool
) -> None:
    epilogue = Epilogue(dtype=dtype, zero_point=zero_point, lo=lo, hi=hi, bounded=bounded)
    most = 2.0**31 - 256 if bounded else 3e38
    ends = [0.0, -0.5, 0.5, 1.5, 254.5, 255.5, -128.5, 32767.5, 40000.0, -40000.0, most, -most]
    size = vectors * isa.lanes
    t = np.resize(np.array(ends + [i - 64.5 for i in range(128)], np.float32), size)
    t[len(ends) :] = np.random.default_rng(0).normal(0, 200, size)[len(ends) :]
    wanted = finish(t, y_dtype=DTYPES[dtype], zero_point=zero_point, lo=lo, hi=hi)
    y = np.zeros(size, dtype)
    found = run(narrowing(isa, epilogue, vectors, quad=False), isa, [t, y])
    np.testing.assert_array_equal(found, wanted)
    if vectors == 4:
        mixed = t[channel_order(isa.lanes, vectors)]
        found = run(narrowing(isa, epilogue, vectors, quad=True), isa, [mixed, y])
        np.testing.assert_array_equal(found, wanted)
