"""QMul against NumPy, and chains of QMul and QAdd."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given

from qcompile.targets.isa import Isa
from qcompile.targets.kernels.add import Add
from qcompile.targets.kernels.epilogue import Epilogue
from qcompile.targets.kernels.mul import Mul
from qcompile.targets.kernels.pairwise import Pairwise, Step
from qcompile.targets.kernels.view import View
from qcompile.targets.layout import Halo, Layout
from tests.targets.buffers import Array, last_step, run
from tests.targets.pairs import RUNNABLE, check, pairs, pairwise
from tests.targets.strategies import QUICK, SEEDS, THOROUGH
from tests.targets.test_add import added


def multiplied(a: Array, b: Array, step: Step, factors: Sequence[np.float32]) -> Array:
    left = a.astype(np.int32) - step.a_zero_point
    right = b.astype(np.int32) - step.b_zero_point
    return last_step((left * right).astype(np.float32) * factors[0], step.epilogue)


def stepped(a: Array, b: Array, step: Step, factors: Sequence[np.float32]) -> Array:
    return (added if isinstance(step, Add) else multiplied)(a, b, step, factors)


def factor(seed: int) -> np.float32:
    rng = np.random.default_rng(seed)
    return np.float32(rng.choice([2.0**-8, rng.uniform(0.0001, 0.02)]))


@QUICK
@given(pairs(Mul), SEEDS)
def test_multiplies(case: tuple[Pairwise, list[View]], seed: int) -> None:
    check(*case, [[factor(seed)]], multiplied, seed)


@pytest.mark.slow
@THOROUGH
@given(pairs(Mul), SEEDS)
def test_multiplies_many(case: tuple[Pairwise, list[View]], seed: int) -> None:
    check(*case, [[factor(seed)]], multiplied, seed)


@pytest.mark.parametrize("isa", RUNNABLE, ids=lambda isa: isa.name)
@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("channels", [24, 96, 520])
def test_gates_channels(isa: Isa, parallel: bool, channels: int) -> None:
    """The last step of a squeeze-and-excite: one factor a channel, for every pixel."""
    shape, gate = (2, channels, 4, 3), (2, channels, 1, 1)
    x = View.of(shape, Layout.spatial(shape, isa.lanes))
    y = View.of(shape, Layout.spatial(shape, isa.lanes, Halo(1, 1, 1, 1)))
    gates = View.of(gate, Layout.spatial(gate, isa.lanes))
    epilogue = Epilogue(dtype="uint8", zero_point=60, bounded=True)
    step = Mul(a_zero_point=120, b_zero_point=0, epilogue=epilogue)
    template = pairwise(step, x, gates, y, isa=isa, parallel=parallel)
    check(template, [x, gates], [[factor(1)]], multiplied, 1)


@pytest.mark.parametrize("isa", RUNNABLE, ids=lambda isa: isa.name)
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("channels", [24, 70])
@pytest.mark.parametrize("seed", range(3))
def test_a_chain_rounds_and_clamps_each_step(
    isa: Isa, dtype: str, channels: int, seed: int
) -> None:
    shape, gate = (1, channels, 4, 3), (1, channels, 1, 1)
    x, gates = (View.of(each, Layout.spatial(each, isa.lanes)) for each in (shape, gate))
    first = Epilogue(dtype=dtype, zero_point=7, lo=-20, hi=90)
    second = Epilogue(dtype=dtype, zero_point=-3 if dtype == "int8" else 3)
    template = Pairwise(
        inputs=(x, gates.broadcast_to(shape), x),
        dtypes=("uint8", "uint8", dtype),
        steps=(
            Mul(a=0, b=1, a_zero_point=120, b_zero_point=0, epilogue=first),
            Add(a=0, b=3, a_zero_point=120, b_zero_point=7, epilogue=second),
            Add(a=4, b=2, a_zero_point=second.zero_point, b_zero_point=9, epilogue=first),
        ),
        y=x,
        isa=isa,
    )
    rng = np.random.default_rng(seed)
    factors = [[np.float32(f) for f in rng.uniform(0.01, 2, n)] for n in (1, 2, 2)]
    factors[0][0] /= np.float32(64)
    check(template, [x, gates, x], factors, stepped, seed)


def test_the_largest_products_are_exact() -> None:
    plain = View.plain((2,))
    step = Mul(a_zero_point=0, b_zero_point=127, epilogue=Epilogue(dtype="float32"))
    template = pairwise(step, plain, plain, plain, isa=RUNNABLE[0], dtypes=("uint8", "int8"))
    a, b = np.array([255, 254], np.uint8), np.array([-128, -128], np.int8)
    buffer = run(template, [a, b, np.ones(1, np.float32)], plain.layout, "float32")
    np.testing.assert_array_equal(buffer, [-255 * 255, -254 * 255])
