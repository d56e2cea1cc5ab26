"""From the Relax function of a model to a list of calls, with kernels that C can call."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tvm
from tvm import relax

from qcompile.bundle.program import Call, Faster, Program
from qcompile.errors import CompileError
from qcompile.importer.opset import one_line
from qcompile.target import KernelInfo
from qcompile.targets.c_kernels import CKernels, compile_kernels
from qcompile.targets.isa import Isa


def make_program(
    module: Any, tvm_target: Mapping[str, Any], infos: Iterable[KernelInfo]
) -> Program:
    """Return the program of an emitted module, its kernels compiled for the target.

    Args:
        module: `main` and the kernels.
        tvm_target: What TVM's LLVM back end is told.
        infos: What each call of `main` computes, in their order.

    Raises:
        CompileError: TVM cannot compile a kernel, most likely a float one that it made.
        ValueError: `main` holds something else than kernel calls and reshapes.
    """
    try:
        kernels = compile_kernels(module, tvm_target)
    except RuntimeError as error:  # TVM's InternalError
        raise CompileError(
            f"TVM cannot compile one of its kernels: {one_line(error)}",
            where="build",
            hint="please report this with the model",
        ) from error
    trace = _Trace(kernels, infos)
    main = module["main"]
    inputs = tuple(trace.new_buffer(parameter) for parameter in main.params)
    for block in main.body.blocks:
        for binding in block.bindings:
            trace.bind(binding.var, binding.value)
    outputs = trace.buffers(main.body.body)
    assert next(trace.infos, None) is None, "more kernels than calls"
    return Program(
        object_code=kernels.object_code,
        calls=tuple(trace.calls),
        sizes=tuple(trace.sizes),
        constants=trace.constants,
        inputs=inputs,
        outputs=outputs,
    )


def faster_kernels(functions: Mapping[str, Any], isa: Isa) -> Faster | None:
    """Compile the kernels that gain by what some CPUs have beside the instruction set.

    Args:
        functions: PrimFuncs, by the symbol of the kernel that each stands in for.
        isa: The instruction set; its `faster` says what they have.
    """
    if isa.faster is None or not functions:
        return None
    feature, wider = isa.faster
    module = tvm.IRModule({f"{name}_{feature}": each for name, each in functions.items()})
    kernels = compile_kernels(module, wider.tvm_target)
    return Faster(
        feature,
        kernels.object_code,
        {kernels.symbol(name): kernels.symbol(f"{name}_{feature}") for name in functions},
    )


class _Trace:
    """Follows the bindings of `main`; a Relax variable stands for one buffer or several."""

    def __init__(self, kernels: CKernels, infos: Iterable[KernelInfo]) -> None:
        self.calls: list[Call] = []
        self.sizes: list[int] = []
        self.constants: dict[int, bytes] = {}
        self.infos = iter(infos)
        self._kernels = kernels
        self._known: dict[Any, tuple[int, ...]] = {}
        self._stored: dict[bytes, int] = {}

    def new_buffer(self, variable: Any) -> int:
        """Return the number of a new buffer that a variable stands for."""
        (number,) = self._known[variable] = (self._add(tensor_bytes(variable.ty)),)
        return number

    def bind(self, variable: Any, value: Any) -> None:
        """Follow one binding."""
        operator = value.op.name if isinstance(value, relax.Call) else ""
        if operator == "relax.call_tir":
            self._known[variable] = self._call(value)
        elif operator == "relax.reshape":
            self._known[variable] = self.buffers(value.args[0])
        else:
            self._known[variable] = self.buffers(value)

    def buffers(self, value: Any) -> tuple[int, ...]:
        """Return the buffers that an expression stands for; a constant becomes one."""
        if isinstance(value, relax.Var):
            return self._known[value]
        if isinstance(value, tvm.ir.GenericConst):
            return (self._constant(value.value.numpy()),)
        if isinstance(value, relax.Tuple):
            return tuple(number for field in value.fields for number in self.buffers(field))
        if isinstance(value, relax.TupleGetItem):
            return (self.buffers(value.tuple_value)[value.index],)
        raise ValueError(f"no kernel call: {value}")

    def _call(self, call: Any) -> tuple[int, ...]:
        symbol = call.args[0].name_hint
        reads = self.buffers(call.args[1])
        types = call.ty_args[0]
        fields = types.fields if isinstance(types, relax.TupleType) else [types]
        written = tuple(self._add(tensor_bytes(each)) for each in fields)
        scratch = tuple(self._add(size) for size in self._kernels.scratch[symbol])
        kernel, info = self._kernels.symbol(symbol), next(self.infos)
        self.calls.append(Call(kernel, reads, (*written, *scratch), info))
        return written

    def _constant(self, array: np.ndarray[Any, Any]) -> int:
        data = np.ascontiguousarray(array).tobytes()
        if data not in self._stored:
            self._stored[data] = self._add(len(data))
            self.constants[self._stored[data]] = data
        return self._stored[data]

    def _add(self, size: int) -> int:
        self.sizes.append(size)
        return len(self.sizes) - 1


def tensor_bytes(kind: Any) -> int:
    """Return the bytes of a tensor of that Relax type."""
    elements = math.prod(int(size) for size in kind.shape.values)
    return elements * int(tvm.DataType(str(kind.dtype)).itemsize)
