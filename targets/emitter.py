"""Write the Relax function of a model: one call a kernel, over flat buffers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from tvm import relax

from qcompile import ops
from qcompile.regions import constant
from qcompile.target import KernelInfo
from qcompile.targets.float_kernels import Replay
from qcompile.targets.float_plan import float_images
from qcompile.targets.isa import Isa
from qcompile.targets.islands import Island
from qcompile.targets.kernels.move import Move
from qcompile.targets.kernels.view import View
from qcompile.targets.layout import Layout
from qcompile.targets.plan import plan_layouts, static_shape
from qcompile.targets.tuning.choices import Choices, Kernel, Tunable
from qcompile.tuning_log import Record

Array = npt.NDArray[np.generic]
Buffer = Any
"""A Relax variable: a flat tensor."""

UNTUNED = Choices()

THREAD_MACS = 1 << 21
"""8-bit multiply-accumulates above which a kernel by itself is worth a launch of threads."""

NEAR_MACS = 1 << 19
"""The same where its input was computed by threads: it lies in the caches of both already.

Otherwise one of them fetches its half from the other, and gives it back afterwards.
"""

THREAD_ELEMENTS = 1 << 17
"""Elements above which a kernel that does little with each is worth a launch of threads."""

NEAR_ELEMENTS = 1 << 16
"""The same where its input was computed by threads."""


class Template(Protocol):
    """A kernel template with its sizes filled in; hashable, so that equal kernels are one."""

    def func(self) -> Any:
        """Return the PrimFunc: inputs, constants, and the output last."""
        ...


@runtime_checkable
class Widening(Protocol):
    """A template that may gain by a wider instruction set."""

    def on(self, isa: Isa, /) -> Template | None:
        """Return the same kernel for that instruction set; None where it gains nothing."""
        ...


class Emitter:
    """The function being built, and where each value of the graph lies in it.

    Attributes:
        isa: The instruction set of the templates.
        threads: Whether kernels may share their work among threads.
        layouts: The layout of every 8-bit activation, and of floats that lie as images;
            other float tensors are row-major.
        kernels: What each call computes, in order, for the manifest.
        choices: What tuning logs say.
        tunable: The kernels that have tile sizes to choose.
        used: The records that chose some.
        chained: What `rules.elementwise` knows of nodes that join the kernel of their reader.
    """

    def __init__(
        self, graph: ir.Graph, isa: Isa, *, threads: bool = True, choices: Choices = UNTUNED
    ) -> None:
        self.isa = isa
        self.threads = threads
        self.layouts = {**plan_layouts(graph, isa), **float_images(graph, isa)}
        self.kernels: list[KernelInfo] = []
        self.choices = choices
        self.tunable: list[Tunable] = []
        self.used: list[Record] = []
        self.chained: dict[ir.Node, int] = {}
        self._graph = graph
        self._builder = relax.BlockBuilder()
        self._buffers: dict[ir.Value, Buffer] = {}
        self._functions: dict[Template, Any] = {}
        self._replays: dict[Any, Replay] = {}
        self._by_threads: set[Buffer] = set()
        self._deferred: dict[ir.Value, tuple[ir.Value, View, Callable[[], None]]] = {}

    def module(self, outputs: Sequence[ir.Value], steps: Iterable[Callable[[], None]]) -> Any:
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
                    self.define(value, parameter, plain_layout(value))
                for step in steps:
                    step()
                results = [self.plain(value) for value in outputs]
                result = results[0] if len(results) == 1 else relax.Tuple(results)
                result = self._builder.emit_output(result)
            self._builder.emit_func_output(result)
        return self._builder.get()

    def tuned(self, template: Kernel) -> Kernel:
        """Return the kernel with the tile sizes that a tuning log knows to be the best."""
        self.tunable.append(template)
        record = self.choices.find(template)
        if record is None:
            return template
        self.used.append(record)
        return self.choices.apply(template, record)

    def call(
        self,
        template: Template,
        arguments: Sequence[Buffer | Array],
        *,
        size: int,
        dtype: ir.DataType | None,
        node: str = "",
        tile: str = "",
        macs: int = 0,
    ) -> Buffer:
        """Emit one kernel call and return its output, a flat buffer of `size` elements.

        Args:
            template: The kernel.
            arguments: Its parameters without the output; arrays become constants.
            size: Elements of the output.
            dtype: Of the output.
            node: The node that it computes, for the manifest.
            tile: Tile sizes, for the manifest.
            macs: Multiply-accumulates, for the manifest.
        """
        (buffer,) = self.call_all(
            template, arguments, [(size, dtype)], node=node, tile=tile, macs=macs
        )
        return buffer

    def call_all(
        self,
        template: Template,
        arguments: Sequence[Buffer | Array],
        outputs: Sequence[tuple[int, ir.DataType | None]],
        *,
        node: str = "",
        tile: str = "",
        macs: int = 0,
    ) -> list[Buffer]:
        """Emit one kernel call of several outputs, each a size and a type; see `call`."""
        name = type(template).__name__
        if template not in self._functions:
            symbol = f"k{len(self._functions)}_{name}"
            function = template.func().with_attr("global_symbol", symbol)
            self._functions[template] = self._builder.add_func(function, symbol)
        self.kernels.append(KernelInfo(node=node, kernel=name, tile=tile, macs=macs))
        operands = [
            exact_constant(item) if isinstance(item, np.ndarray) else item
            for item in arguments
        ]
        types = [flat_type(*output) for output in outputs]
        alone = len(types) == 1
        call = relax.call_tir(
            self._functions[template], operands, out_ty=types[0] if alone else types
        )
        result = self._builder.emit(call)
        buffers = [result]
        if not alone:
            fields = [relax.TupleGetItem(result, index) for index in range(len(types))]
            buffers = [self._builder.emit(field) for field in fields]
        if getattr(template, "parallel", False):
            self._by_threads.update(buffers)
        return buffers

    def faster(self) -> dict[str, Any]:
        """Return the kernels that gain by `isa.faster`, by the symbol they stand in for."""
        if self.isa.faster is None:
            return {}
        _, wider = self.isa.faster
        twice = {
            variable.name_hint: template.on(wider)
            for template, variable in self._functions.items()
            if isinstance(template, Widening)
        }
        return {
            name: template.func() for name, template in twice.items() if template is not None
        }

    def produce(
        self,
        node: ir.Node,
        template: Template,
        arguments: Sequence[Buffer | Array],
        *,
        layout: Layout | None = None,
        tile: str = "",
        macs: int = 0,
    ) -> None:
        """Emit the kernel that computes a node's output, in `layout` or the planned one."""
        value = node.outputs[0]
        layout = layout or self.layout(value)
        buffer = self.call(
            template,
            arguments,
            size=layout.size,
            dtype=value.dtype,
            node=str(node.name or value.name),
            tile=tile,
            macs=macs,
        )
        self.define(value, buffer, layout)

    def define(self, value: ir.Value, buffer: Buffer, layout: Layout | None = None) -> None:
        """Say where a value lies; it is moved to its planned layout if that is another one."""
        planned = self.layout(value)
        if layout is not None and layout != planned:
            buffer = self.move(buffer, value, layout, planned)
        self._buffers[value] = buffer

    def defer(
        self, value: ir.Value, source: ir.Value, view: View, emit: Callable[[], None]
    ) -> None:
        """Say that a value is a view of another; `emit` moves it where it is asked for so."""
        self._deferred[value] = (source, view, emit)

    def origin(self, value: ir.Value) -> tuple[ir.Value, View]:
        """Return what holds a value's elements now, and where: itself or a deferred source."""
        if value in self._deferred:
            source, view, _ = self._deferred[value]
            return source, view
        return value, self.view(value)

    def where(self, value: ir.Value) -> tuple[Buffer, View]:
        """Return a value's elements wherever they lie now: perhaps still in another value.

        Numbers that wait to be quantized are none of its elements yet.
        """
        source, view = self.origin(value)
        if source.dtype != value.dtype:
            return self.buffer(value), self.view(value)
        return self.buffer(source), view

    def buffer(self, value: ir.Value, layout: Layout | None = None) -> Buffer:
        """Return a value's buffer, moved into `layout` where it lies otherwise."""
        if value in self._deferred:
            _, _, emit = self._deferred.pop(value)
            emit()
        stored = constant(value)
        found = self._buffers[value] if stored is None else self.constant(stored)
        have = self.layout(value)
        if layout is None or have == layout:
            return found
        return self.move(found, value, have, layout)

    def view(self, value: ir.Value) -> View:
        """Return a value's elements where they lie."""
        return View.of(static_shape(value), self.layout(value))

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
            static_shape(value),
            source,
            target,
            dtype=value.dtype.numpy().name,
            zero_point=zero_point_of(value),
            lanes=self.isa.lanes,
            parallel=self.worth_threads(target.size),
        )
        return self.call(template, [buffer], size=target.size, dtype=value.dtype)

    def worth_launch(self, macs: float, source: Buffer) -> bool:
        """Whether a kernel of so many multiply-accumulates of a buffer is worth threads."""
        least = NEAR_MACS if source in self._by_threads else THREAD_MACS
        return self.threads and macs >= least

    def worth_threads(self, elements: int, *sources: Buffer) -> bool:
        """Whether a kernel over so many elements of some buffers is worth threads."""
        near = any(source in self._by_threads for source in sources)
        return self.threads and elements >= (NEAR_ELEMENTS if near else THREAD_ELEMENTS)

    def island(self, island: Island, imported: Any) -> None:
        """Emit float nodes from what `Island.to_relax` made of them; once more if again."""
        arguments = [
            self._builder.emit(relax.op.reshape(self.plain(value), static_shape(value)))
            for value in island.inputs
        ]
        if imported not in self._replays:
            prefix = f"island{len(self._replays)}_"
            self._replays[imported] = Replay(self._builder, imported, prefix)
        replay = self._replays[imported]
        results = replay.emit(arguments)
        for value, result in zip(island.outputs, results, strict=True):
            flat = relax.op.reshape(result, (math.prod(static_shape(value)),))
            self.define(value, self._builder.emit(flat), plain_layout(value))
        nodes = ", ".join(str(node.name or node.outputs[0].name) for node in island.nodes)
        for name in replay.kernels:
            self.kernels.append(KernelInfo(node=nodes, kernel="Float", tile=name))

    def constant(self, array: Array) -> Buffer:
        """Return an array as a flat constant."""
        return exact_constant(array.reshape(-1))


def plain_layout(value: ir.Value) -> Layout:
    """Return the layout that is the row-major order of a value's shape."""
    return Layout.rows(static_shape(value))


def exact_constant(array: Array) -> Buffer:
    """Return an array as a constant of its own type: TVM would narrow 64 bits to 32."""
    return relax.const(np.ascontiguousarray(array), array.dtype.name)


def flat_type(size: int, dtype: ir.DataType | None) -> Any:
    """Return the Relax type of a flat tensor."""
    assert dtype is not None
    return relax.TensorType((size,), dtype.numpy().name)


def zero_point_of(value: ir.Value) -> int:
    """Return the zero point of a quantized activation; 0 for any other value."""
    return int(value.metadata_props.get(ops.ZERO_POINT, "0"))
