"""Kernels of two tensors that broadcast, and what goes into them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from hypothesis import strategies as st

from qcompile.targets.arm_isa import NEON
from qcompile.targets.isa import Isa
from qcompile.targets.kernels.pairwise import Pairwise, Step
from qcompile.targets.kernels.view import View
from qcompile.targets.x86_isa import AVX2, VNNI512
from tests.targets.buffers import LANES, Array, image, run, stored
from tests.targets.strategies import T8, broadcast_shapes, epilogues, views, zero_points

ISAS: dict[int, Isa] = {isa.lanes: isa for isa in (VNNI512, AVX2, NEON)}
RUNNABLE = [ISAS[lanes] for lanes in LANES]

Reference = Callable[[Array, Array, Step, Sequence[np.float32]], Array]
"""What a step gives of two tensors."""


def pairwise(
    step: Step,
    a: View,
    b: View,
    y: View,
    *,
    isa: Isa,
    dtypes: tuple[str, str] = ("uint8", "uint8"),
    parallel: bool = False,
) -> Pairwise:
    """Return the kernel of one step."""
    inputs = tuple(view.broadcast_to(y.shape) for view in (a, b))
    return Pairwise(
        inputs=inputs, dtypes=dtypes, steps=(step,), y=y, isa=isa, parallel=parallel
    )


@st.composite
def pairs(draw: st.DrawFn, kind: type[Step]) -> tuple[Pairwise, list[View]]:
    """Draw a kernel, and its operands in their own shapes."""
    *shapes, shape = draw(broadcast_shapes(2))
    epilogue = draw(epilogues())
    dtypes = (draw(T8), draw(T8))
    step = kind(
        a_zero_point=draw(zero_points(dtypes[0])),
        b_zero_point=draw(zero_points(dtypes[1])),
        epilogue=epilogue,
    )
    a, b = draw(views(shapes[0])), draw(views(shapes[1]))
    y = draw(views(shape, halo=epilogue.dtype != "float32"))
    template = pairwise(
        step,
        a,
        b,
        y,
        isa=draw(st.sampled_from(RUNNABLE)),
        dtypes=dtypes,
        parallel=draw(st.booleans()),
    )
    return template, [a, b]


def check(
    template: Pairwise,
    operands: Sequence[View],
    factors: Sequence[Sequence[np.float32]],
    reference: Reference,
    seed: int,
) -> None:
    """Compare a kernel with its steps one after the other.

    Args:
        template: The kernel.
        operands: Its tensors in their own shapes.
        factors: The multipliers of every step.
        reference: What a step gives.
        seed: Of the numbers.
    """
    rng = np.random.default_rng(seed)
    known = [
        rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max + 1, view.shape).astype(dtype)
        for dtype, view in zip(template.dtypes, operands, strict=True)
    ]
    arguments = [
        *(stored(x, view.layout, seed) for x, view in zip(known, operands, strict=True)),
        *(np.asarray([factor]) for each in factors for factor in each),
    ]
    for step, own in zip(template.steps, factors, strict=True):
        known.append(reference(known[step.a], known[step.b], step, own))
    buffer = run(template, arguments, template.y.layout, template.epilogue.dtype)
    got = image(buffer, template.y, template.epilogue.zero_point)
    np.testing.assert_array_equal(got, np.broadcast_to(known[-1], got.shape))
