"""What may be done after each pass: print the graph, or check it."""

from __future__ import annotations

import sys
from collections.abc import Callable

import onnx_ir as ir

from qcompile.errors import CompileError

AfterPass = Callable[[ir.passes.PassBase, ir.passes.PassResult], None]


def after_pass(print_after: str | None, *, verify: bool) -> AfterPass | None:
    """Return the hook that both options ask for, None where they ask for nothing.

    Args:
        print_after: Class name of the pass after which the graph is printed to stderr.
        verify: Whether the ONNX checker runs after every pass.
    """
    if print_after is None and not verify:
        return None

    def hook(step: ir.passes.PassBase, result: ir.passes.PassResult) -> None:
        name = type(step).__name__
        if print_after is not None and name.lower() == print_after.lower():
            print(
                f"after {name}:\n{ir.to_onnx_text(result.model, exclude_initializers=True)}",
                file=sys.stderr,
            )
        if verify:
            check(name, result.model)

    return hook


def check(name: str, model: ir.Model) -> None:
    """Run the ONNX checker; standard nodes are checked, ours are known to it by domain only.

    Raises:
        CompileError: The graph is not valid ONNX any more; names the pass.
    """
    import onnx

    try:
        onnx.checker.check_model(ir.to_proto(model))
    except onnx.checker.ValidationError as error:
        raise CompileError(
            f"the graph is not valid after it: {str(error).splitlines()[0]}",
            where=f"pass {name}",
            hint="this is a bug of that pass",
        ) from error
