"""Run passes one after another."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx_ir as ir
from onnx_ir.passes import PassBase, PassResult

AfterPass = Callable[[PassBase, PassResult], None]


def run_passes(
    model: ir.Model, passes: Sequence[PassBase], after: AfterPass | None = None
) -> ir.Model:
    """Run the passes in order; `after` sees each result (to print, time or check it).

    A plain loop rather than ir.passes.Sequential: that wraps what a pass raises in a
    PassError, and the user would read the wrapping instead of the problem.
    """
    for step in passes:
        result = step(model)
        if after is not None:
            after(step, result)
        model = result.model
    return model
