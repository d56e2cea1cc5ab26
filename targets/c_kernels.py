"""Compile kernels to an object file whose functions take plain pointers, as C calls them.

TVM's own pipeline wraps every kernel into its packed calling convention, which needs tensors
and an error channel of its runtime. Here a kernel's buffers become pointers instead, after the
passes that lower its body.
"""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tvm
from tvm import s_tir, tirx

PREFIX = "model_"
"""Of every symbol of a bundle."""

ON_STACK_BYTES = 1024
"""TVM keeps smaller arrays on the stack; one of this size or more becomes a parameter here."""


@dataclasses.dataclass(frozen=True)
class CKernels:
    """Compiled kernels.

    Attributes:
        object_code: The object file.
        scratch: Bytes of the memory that each function wants for itself, passed after its
            own parameters.
    """

    object_code: bytes
    scratch: Mapping[str, tuple[int, ...]]

    def symbol(self, name: str) -> str:
        """Return the symbol of a function of the module."""
        return PREFIX + name


def lowered(functions: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return functions as flat loops: as TVM's default pipeline for a CPU would make them.

    Most templates have neither blocks nor buffers of several axes. For them four of its passes
    are enough, which takes half the time; LLVM finds common expressions by itself.
    """
    blocks = {v: f for v, f in functions.items() if f.attrs.get("s_tir", False)}
    loops = {v: f for v, f in functions.items() if v not in blocks}
    made = {}
    for some, transform in ((loops, of_flat_loops()), (blocks, of_blocks())):
        if some:
            made.update(transform(tvm.IRModule(some)).functions)
    return {variable: made[variable] for variable in functions}


def of_flat_loops() -> Any:
    """Return the passes for templates of flat loops."""
    flat = tirx.transform
    return tvm.transform.Sequential(
        [
            flat.NarrowDataType(32),
            flat.StorageRewrite(),
            flat.StmtSimplify(),
            flat.VerifyMemory(),
        ]
    )


def of_blocks() -> Any:
    """Return the passes for functions with blocks: TVM's own, up to its packed convention."""
    block, flat = s_tir.transform, tirx.transform
    return tvm.transform.Sequential(
        [
            block.CanonicalizeLoop(),
            block.LowerInitBlock(),
            block.PlanAndUpdateBufferAllocationLocation(),
            block.ConvertBlocksToOpaque(),
            block.CompactBufferAllocation(),
            block.LowerMatchBuffer(),
            block.StmtSimplify(),
            block.AnnotateIrregularLoop(),
            block.LowerOpaqueBlock(),
            flat.FlattenBuffer(),
            flat.BF16ComputeLegalize(),
            flat.NarrowDataType(32),
            block.LoopPartition(),
            flat.VectorizeLoop(True),
            flat.StorageRewrite(),
            block.HoistIfThenElse(),
            flat.UnrollLoop(),
            block.RenormalizeSplitPattern(),
            flat.StmtSimplify(),
            flat.RemoveNoOp(),
            block.RewriteUnsafeSelect(),
            flat.CommonSubexprElim(),
            flat.VerifyMemory(),
        ]
    )


def compile_kernels(module: Any, tvm_target: Mapping[str, Any]) -> CKernels:
    """Compile every PrimFunc of a module; those of the same module give the same bytes."""
    target = tvm.target.Target(dict(tvm_target))
    bound = tirx.transform.BindTarget(target.with_host(target))(
        tvm.IRModule(
            {
                variable: function.without_attr("global_symbol")
                for variable, function in module.functions.items()
                if isinstance(function, tirx.PrimFunc)
            }
        )
    )
    plain, scratch = {}, {}
    for variable, function in lowered(bound.functions).items():
        name = variable.name_hint
        called, scratch[name] = with_pointers(function)
        plain[tvm.ir.GlobalVar(name)] = called.with_attr("global_symbol", PREFIX + name)
    last = [tirx.transform.LowerTVMBuiltin(), tirx.transform.LowerIntrin()]
    code = tvm.get_global_func("target.build.llvm")(
        tvm.transform.Sequential(last)(tvm.IRModule(plain)), target
    )
    with tempfile.TemporaryDirectory(prefix="qcompile-") as folder:
        path = Path(folder) / "kernels.o"
        code.write_to_file(str(path))
        return CKernels(path.read_bytes(), scratch)


def with_pointers(function: Any) -> tuple[Any, tuple[int, ...]]:
    """Return a lowered function over pointers, and the bytes it wants for itself."""
    body = function.body
    statements = list(body.seq) if isinstance(body, tirx.SeqStmt) else [body]
    large = [each for each in statements if stored_bytes(each) >= ON_STACK_BYTES]
    buffers = [*function.params, *(each.buffer for each in large)]
    pointers = [tirx.Var(each.name, tvm.ir.PointerType(each.ty.dtype)) for each in buffers]
    declared = [
        tirx.DeclBuffer(buffer, data=pointer)
        for buffer, pointer in zip(buffers, pointers, strict=True)
    ]
    offsets = [each.elem_offset for each in buffers]
    starts = [
        tirx.Bind(offset, tirx.IntImm(str(offset.ty.dtype), 0))
        for offset in offsets
        if isinstance(offset, tirx.Var)
    ]
    kept = [each for each in statements if not any(each.same_as(other) for other in large)]
    done = tirx.Return(tirx.IntImm("int32", 0))  # a parallel loop may return a status itself
    plain = tirx.PrimFunc(
        pointers,
        tirx.SeqStmt([*starts, *declared, *kept, done]),
        tvm.ir.PrimType("int32"),
        function.attrs,
    )
    return plain, tuple(stored_bytes(each) for each in large)


def stored_bytes(statement: Any) -> int:
    """Return the bytes that a statement allocates."""
    if not isinstance(statement, tirx.AllocBuffer):
        return 0
    buffer = statement.buffer
    element = int(tvm.DataType(str(buffer.dtype)).itemsize)
    return element * math.prod(int(size) for size in buffer.shape)
