"""Hold a compiled model against the oracle, and name the first node where they part."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qcompile import oracle
from qcompile.report import is_float
from qcompile.target import Arrays, Runner
from qcompile.validation.first_difference import (
    FLOAT_BOUND,
    Difference,
    compare,
    different,
    judge,
    largest,
)
from qcompile.validation.golden_run import LEAST_DB, far_off

if TYPE_CHECKING:
    from qcompile.model import CompiledModel

Array = npt.NDArray[np.generic]


class Layer(TypedDict):
    """One node over all samples: how many of its values differ from the oracle's."""

    node: str
    op_type: str
    values: int
    differences: int


class _Required(TypedDict):
    bit_exact: bool
    first_difference: Difference | None
    samples: int


class OracleResult(_Required, total=False):
    """Whether every integer is the oracle's, and on how many samples that was looked at.

    `layers` is there where every node was asked for, in graph order.
    """

    layers: list[Layer]


class OracleCheck:
    """Judges runs one by one; after the first difference it looks no further.

    Without float islands the final outputs say it all. With islands, or once the outputs
    differ, the graph is built again with every value as an output and judged node by node;
    that costs a second build, on the first run that needs it. With `layers` every node of
    every run is judged.
    """

    def __init__(self, model: CompiledModel, *, layers: bool = False) -> None:
        self._model = model
        self._layers: dict[str, Layer] | None = {} if layers else None
        self._islands = [node for node in model.integer_graph.graph if is_float(node)]
        self._every_value: Runner | None = None
        self._difference: Difference | None = None
        self._samples = 0

    def see(self, inputs: Arrays, outputs: Arrays, samples: int) -> None:
        """Judge one run of the compiled model, which answered that many samples."""
        if self._difference is not None and self._layers is None:
            return
        self._samples += samples
        if not self._islands and self._layers is None:
            expected = oracle.run(self._model.integer_graph, inputs)
            if all(np.array_equal(expected[name], outputs[name]) for name in expected):
                return
        values = {**inputs, **self._all_values()(inputs)}
        found = self._first_difference(values) or self._different_build(outputs, values)
        self._difference = self._difference or found

    def result(self) -> OracleResult:
        """Return the verdict over all runs seen."""
        result: OracleResult = {
            "bit_exact": self._difference is None,
            "first_difference": self._difference,
            "samples": self._samples,
        }
        if self._layers is not None:
            result["layers"] = list(self._layers.values())
        return result

    def _first_difference(self, values: Arrays) -> Difference | None:
        """Return the first node that differs; look at all of them where they are counted."""
        first = None
        for each in judge(self._model.integer_graph, values):
            first = first or each["difference"]
            if self._layers is not None:
                name = each["node"]
                layer = self._layers.setdefault(
                    name, Layer(node=name, op_type=each["op_type"], values=0, differences=0)
                )
                layer["values"] += each["values"]
                layer["differences"] += each["differences"]
            elif first is not None:
                break
        return first

    def _all_values(self) -> Runner:
        if self._every_value is None:
            lowering = self._model.lowering
            built = lowering.build(self._model.integer_graph, every_value=True)
            self._every_value = self._model.load_library(built.library, every_value=True)
        return self._every_value

    def _different_build(self, outputs: Arrays, values: Arrays) -> Difference | None:
        """Return where the artifact's outputs differ from those of the judged second build.

        Where an island feeds integers, its last float bit may flip an integer between the
        two builds, and nothing can be said.
        """
        if self._islands and islands_feed_integers(self._model.integer_graph.graph):
            return None
        for value in self._model.integer_graph.graph.outputs:
            node = value.producer()
            if node is None:
                continue
            expected, got = values[str(value.name)], outputs[str(value.name)]
            difference = compare(node, expected, got, tail_bound(expected, len(self._islands)))
            if difference is not None:
                return difference
        return None


def islands_feed_integers(graph: ir.Graph) -> bool:
    """Whether any computed float value is quantized."""
    return any(
        node.op_type == "QuantizeLinear"
        and node.inputs[0] is not None
        and node.inputs[0].producer() is not None
        for node in graph
    )


def tail_bound(expected: Array, islands: int) -> float:
    """Return how far two builds' outputs may lie apart behind so many float nodes."""
    if expected.dtype.kind != "f":
        return 0.0
    return FLOAT_BOUND * islands * largest(expected)


def gives_golden(model: CompiledModel) -> bool:
    """Whether the artifact still gives the answers it gave where it was compiled."""
    graph = model.integer_graph.graph
    islands = sum(is_float(node) for node in graph)
    outputs = model.run(model.golden.inputs)
    if islands_feed_integers(graph):  # a last float bit flips a step: as when compiling
        return not any(
            far_off(expected, outputs[name], LEAST_DB)
            for name, expected in model.golden.outputs.items()
        )
    return not any(
        different(expected, outputs[name], tail_bound(expected, islands)).any()
        for name, expected in model.golden.outputs.items()
    )
