"""Write the Relax function of a model: one call a kernel, over flat buffers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from tvm import relax

from qcompile.target import KernelInfo
from qcompile.targets import islands
from qcompile.targets.isa import Isa
from qcompile.targets.kernels.move import Move
from qcompile.targets.layout import Layout
from qcompile.targets.plan import EIGHT_BITS, plan_layouts, static_shape

Array = npt.NDArray[np.generic]
Buffer = Any
"""A Relax variable: a flat tensor."""

PARALLEL_WORK = 1 << 16
"""Elements or multiply-accumulates / 16 above which a kernel is worth a launch of threads."""


class Template(Protocol):
    """A kernel template with its sizes filled in; hashable, so that equal kernels are one."""

    def func(self) -> Any:
        """Return the PrimFunc: inputs, constants, and the output last."""
        ...


class Emitter:
    """The function being built, and where each value of the graph lies in it.

    Attributes:
        isa: The instruction set of the templates.
        layouts: The layout of every 8-bit activation; float tensors are row-major.
        kernels: What was emitted, for the manifest.
    """

    def __init__(self, graph: ir.Graph, isa: Isa) -> None:
        self.isa = isa
        self.layouts = plan_layouts(graph, isa)
        self.kernels: list[KernelInfo] = []
        self._graph = graph
        self._builder = relax.BlockBuilder()
        self._buffers: dict[ir.Value, Buffer] = {}
        self._functions: dict[Template, Any] = {}

    def module(self, outputs: Sequence[ir.Value], steps: Iterable[Any]) -> Any:
        """Return the IRModule whose `main` takes the graph inputs and gives `outputs`.

        Args:
            outputs: What to give out, each as row-major numbers of its shape.
            steps: Called in order, each emits one node or island.
        """
        parameters = [
            relax.Var(f"input_{index}", flat_type(math.prod(static_shape(value)), value.dtype))
            for index, value in enumerate(self._graph.inputs)
        ]
        with self._builder.function("main", parameters):
            with self._builder.dataflow():
                for value, parameter in zip(self._graph.inputs, parameters, strict=True):
                    self._define_plain(value, parameter)
                for step in steps:
                    step()
                results = [self.plain(value) for value in outputs]
                result = results[0] if len(results) == 1 else relax.Tuple(results)
                result = self._builder.emit_output(result)
            self._builder.emit_func_output(result)
        return self._builder.get()

    def call(
        self,
        template: Template,
        inputs: Sequence[Buffer],
        constants: Sequence[Array] = (),
        *,
        size: int,
        dtype: ir.DataType,
        node: str = "",
        tile: str = "",
        macs: int = 0,
    ) -> Buffer:
        """Emit one kernel call and return its output, a flat buffer of `size` elements."""
        name = type(template).__name__
        if template not in self._functions:
            symbol = f"k{len(self._functions)}_{name}"
            function = template.func().with_attr("global_symbol", symbol)
            self._functions[template] = self._builder.add_func(function, symbol)
        self.kernels.append(KernelInfo(node=node, kernel=name, tile=tile, macs=macs))
        arguments = [*inputs, *(relax.const(np.ascontiguousarray(c)) for c in constants)]
        call = relax.call_tir(
            self._functions[template], arguments, out_ty=flat_type(size, dtype)
        )
        return self._builder.emit(call)

    def define(self, value: ir.Value, buffer: Buffer) -> None:
        """Say where a value lies: in its planned layout, or row-major if it is not 8-bit."""
        self._buffers[value] = buffer

    def buffer(self, value: ir.Value, layout: Layout | None = None) -> Buffer:
        """Return a value's buffer, moved into `layout` where it lies otherwise."""
        found = self._constant(value) if value.const_value else self._buffers[value]
        have = self.layout(value)
        if layout is None or have == layout:
            return found
        return self.move(found, value, have, layout)

    def layout(self, value: ir.Value) -> Layout:
        """Return where a value's elements lie."""
        return self.layouts.get(value) or plain_layout(value)

    def plain(self, value: ir.Value) -> Buffer:
        """Return a value's numbers in the row-major order of its shape."""
        return self.buffer(value, plain_layout(value))

    def move(self, buffer: Buffer, value: ir.Value, source: Layout, target: Layout) -> Buffer:
        """Emit a change of layout."""
        assert value.dtype is not None
        template = Move.relayout(
            static_shape(value), source, target, dtype=value.dtype.numpy().name
        )
        return self.call(template, [buffer], size=target.size, dtype=value.dtype)

    def island(self, nodes: Sequence[ir.Node], keep: frozenset[ir.Value]) -> None:
        """Emit float nodes through TVM's importer."""
        island = islands.Island.around(nodes, keep)
        if not island.outputs:
            return
        arguments = [
            self._builder.emit(relax.op.reshape(self.plain(value), static_shape(value)))
            for value in island.inputs
        ]
        prefix = f"island{len(self.kernels)}_"
        results = islands.replay(self._builder, island.to_relax(), arguments, prefix)
        for value, result in zip(island.outputs, results, strict=True):
            flat = relax.op.reshape(result, (math.prod(static_shape(value)),))
            self._define_plain(value, self._builder.emit(flat))
        for node in nodes:
            self.kernels.append(KernelInfo(node=str(node.name), kernel="Float"))

    def _define_plain(self, value: ir.Value, buffer: Buffer) -> None:
        layout = self.layout(value)
        if layout != plain_layout(value):
            buffer = self.move(buffer, value, plain_layout(value), layout)
        self.define(value, buffer)

    def _constant(self, value: ir.Value) -> Buffer:
        assert value.const_value is not None
        return relax.const(np.ascontiguousarray(value.const_value.numpy()).reshape(-1))


def plain_layout(value: ir.Value) -> Layout:
    """Return the layout that is the row-major order of a value's shape."""
    return Layout.rows(static_shape(value))


def flat_type(size: int, dtype: ir.DataType | None) -> Any:
    """Return the Relax type of a flat tensor."""
    assert dtype is not None
    return relax.TensorType((size,), dtype.numpy().name)


def is_eight_bit(value: ir.Value) -> bool:
    """Whether a value is a quantized activation."""
    return value.dtype in EIGHT_BITS


