"""Hold a compiled model against the oracle, and name the first node where they part."""

from __future__ import annotations

import tempfile
from pathlib import Path
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
    first_difference,
)

if TYPE_CHECKING:
    from qcompile.model import CompiledModel

Array = npt.NDArray[np.generic]


class OracleResult(TypedDict):
    """Whether every integer is the oracle's, and on how many samples that was looked at."""

    bit_exact: bool
    first_difference: Difference | None
    samples: int


class OracleCheck:
    """Judges runs one by one; after the first difference it looks no further.

    Without float islands the final outputs say it all. With islands, or once the outputs
    differ, the graph is built again with every value as an output and judged node by node;
    that costs a second build, on the first run that needs it.
    """

    def __init__(self, model: CompiledModel) -> None:
        self._model = model
        self._islands = [node for node in model.integer_graph.graph if is_float(node)]
        self._every_value: Runner | None = None
        self._difference: Difference | None = None
        self._samples = 0

    def see(self, inputs: Arrays, outputs: Arrays, samples: int) -> None:
        """Judge one run of the compiled model, which answered that many samples."""
        if self._difference is not None:
            return
        self._samples += samples
        if not self._islands:
            expected = oracle.run(self._model.integer_graph, inputs)
            if all(np.array_equal(expected[name], outputs[name]) for name in expected):
                return
        values = {**inputs, **self._all_values()(inputs)}
        self._difference = first_difference(self._model.integer_graph, values)
        if self._difference is None:
            self._difference = self._different_build(outputs, values)

    def result(self) -> OracleResult:
        """Return the verdict over all runs seen."""
        return {
            "bit_exact": self._difference is None,
            "first_difference": self._difference,
            "samples": self._samples,
        }

    def _all_values(self) -> Runner:
        if self._every_value is None:
            graph, lowering = self._model.integer_graph, self._model.target.lowering
            with tempfile.TemporaryDirectory(prefix="qcompile-") as folder:
                path = Path(folder) / "library.so"
                path.write_bytes(lowering.build(graph, every_value=True).library)
                self._every_value = lowering.load(path, graph, every_value=True)
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
    return FLOAT_BOUND * islands * float(np.abs(expected).max(initial=0.0))


def gives_golden(model: CompiledModel) -> bool:
    """Whether the artifact still gives the answers it gave where it was compiled."""
    islands = sum(is_float(node) for node in model.integer_graph.graph)
    outputs = model.run(model.golden.inputs)
    return not any(
        different(expected, outputs[name], tail_bound(expected, islands)).any()
        for name, expected in model.golden.outputs.items()
    )
