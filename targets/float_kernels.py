"""Float kernels: what TVM's ONNX importer makes of an island, ready to be emitted."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import onnx
import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator
from tvm.relax.frontend.onnx import from_onnx

CALL = "relax.call_tir"
"""Calls a kernel."""

LOWERED_LATER = frozenset({CALL, "relax.reshape"})
"""Calls that the build knows: a kernel's, and another shape for the same numbers."""

FUSED_AT_MOST = 32
"""Operators that one float kernel may hold: LLVM's time grows faster than the kernel."""


def import_float(model: onnx.ModelProto, tvm_target: Mapping[str, Any]) -> Any:
    """Return an IRModule of kernels whose `main` computes the model's outputs.

    Raises:
        Exception: Of many types: the importer does not know an operator.
        ValueError: TVM has no kernel for an operator.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = clamp_indices(from_onnx(model, keep_params_in_input=False))
        return legalized(module, tvm_target)


@mutator
class ClampIndices(PyExprMutator):  # type: ignore[misc]
    """Makes every Gather stay inside its table: TVM's default reads whatever lies there."""

    def visit_call_(self, call: Any) -> Any:
        """Rewrite `take` to clamp an index that is out of range."""
        call = super().visit_call_(call)
        if isinstance(call.op, tvm.ir.Op) and call.op.name == "relax.take":
            return relax.op.take(*call.args, axis=call.attrs.axis, mode="clip")
        return call


def clamp_indices(module: Any) -> Any:
    """Return the module with every index clamped."""
    visitor = ClampIndices(module)
    for variable, function in module.functions.items():
        if isinstance(function, relax.Function):
            visitor.builder_.update_func(variable, visitor.visit_expr(function))
    return visitor.builder_.get()


def legalized(module: Any, tvm_target: Mapping[str, Any]) -> Any:
    """Return the imported module with every operator as a kernel, neighbours fused.

    Raises:
        ValueError: TVM has no kernel for an operator.
    """
    step = relax.transform
    steps = tvm.transform.Sequential(
        [
            step.DecomposeOpsForInference(),
            step.CanonicalizeBindings(),
            step.LegalizeOps(),
            step.AnnotateTIROpPattern(),
            step.FoldConstant(),
            step.FuseOps(),
            step.FuseTIR(),
            step.DeadCodeElimination(),
        ]
    )
    depth = {"relax.FuseOps.max_depth": FUSED_AT_MOST}
    with tvm.target.Target(dict(tvm_target)), tvm.transform.PassContext(config=depth):
        module = steps(module)
    for block in module["main"].body.blocks:
        for binding in block.bindings:
            operator = getattr(binding.value, "op", None)
            if isinstance(operator, tvm.ir.Op) and operator.name not in LOWERED_LATER:
                raise ValueError(f"TVM has no kernel for {operator.name}")
    for name, function in module.functions.items():
        if isinstance(function, tvm.tirx.PrimFunc) and calls_runtime(function):
            raise ValueError(f"TVM's {name.name_hint} is a function of its runtime")
    return module


def calls_runtime(function: Any) -> bool:
    """Whether a kernel calls what only TVM's runtime has: sorting, running sums."""
    return "call_packed" in function.script()


def output_types(module: Any) -> list[tuple[tuple[int, ...], str]]:
    """Return the shape and element type of each output of an imported module."""
    result = module["main"].body.body.ty
    fields = result.fields if isinstance(result, relax.TupleType) else [result]
    return [(tuple(int(size) for size in each.shape), str(each.dtype)) for each in fields]


class Replay:
    """Emits the body of an imported module's `main` into another function being built.

    Attributes:
        kernels: The name of the kernel of each call that was emitted.
    """

    def __init__(self, builder: Any, module: Any, prefix: str) -> None:
        self.kernels: list[str] = []
        self._builder = builder
        self._main = module["main"]
        self._known: dict[Any, Any] = {
            variable: builder.add_func(
                function.with_attr("global_symbol", prefix + variable.name_hint),
                prefix + variable.name_hint,
            )
            for variable, function in module.functions.items()
            if isinstance(function, tvm.tirx.PrimFunc)
        }

    def emit(self, arguments: Sequence[Any]) -> list[Any]:
        """Emit the bindings with these arguments and return the outputs."""
        self._known.update(zip(self._main.params, arguments, strict=True))
        for block in self._main.body.blocks:
            for binding in block.bindings:
                if getattr(getattr(binding.value, "op", None), "name", "") == CALL:
                    self.kernels.append(binding.value.args[0].name_hint)
                self._known[binding.var] = self._builder.emit(self._rewrite(binding.value))
        result = self._rewrite(self._main.body.body)
        if isinstance(result, relax.Tuple):
            return list(result.fields)
        if not isinstance(result.ty, relax.TupleType):
            return [result]
        return [
            self._builder.emit(relax.TupleGetItem(result, index))
            for index in range(len(result.ty.fields))
        ]

    def _rewrite(self, expression: Any) -> Any:
        """Return the expression with this function's variables and kernels."""
        if isinstance(expression, relax.Var | tvm.ir.GlobalVar):
            return self._known[expression]
        if isinstance(expression, relax.Tuple):
            return relax.Tuple([self._rewrite(field) for field in expression.fields])
        if isinstance(expression, relax.TupleGetItem):
            return relax.TupleGetItem(self._rewrite(expression.tuple_value), expression.index)
        if isinstance(expression, relax.Call):
            arguments = [self._rewrite(argument) for argument in expression.args]
            return relax.Call(expression.op, arguments, expression.attrs, expression.ty_args)
        return expression
