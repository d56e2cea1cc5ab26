"""Show the values to observe as outputs of the graph."""

from __future__ import annotations

import dataclasses

import onnx_ir as ir


@dataclasses.dataclass(frozen=True)
class InsertObservers(ir.passes.InPlacePass):
    """Add values to the graph's outputs, so that any runtime gives them out.

    No operator is needed and no number changes. The outputs that are there stay first, in
    their order. A graph input is not added: it is observed in the data itself. Values inside
    a sub-graph exist only while it runs; they cannot be outputs, and are not observed.

    Attributes:
        values: The names of the values; None for every float that a node computes.

    Raises:
        ValueError: A name that no node and no input of the main graph has.

    Example:
        before:
            g (float[4] x) => (float[4] y) { a = Relu (x)  b = Neg (a)  y = Abs (b) }
        after:
            g (float[4] x) => (float[4] y, float[4] a, float[4] b)
            { a = Relu (x)  b = Neg (a)  y = Abs (b) }
    """

    values: frozenset[str] | None = None

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Return the model and whether any output was added."""
        computed = [value for node in model.graph for value in node.outputs]
        if self.values is not None:
            known = {value.name for value in (*computed, *model.graph.inputs)}
            unknown = sorted(self.values - known)
            if unknown:
                raise ValueError(f"no value named {', '.join(map(repr, unknown))}")
        added = [
            value for value in computed if self._wants(value) and not value.is_graph_output()
        ]
        model.graph.outputs.extend(added)
        return ir.passes.PassResult(model, bool(added))

    def _wants(self, value: ir.Value) -> bool:
        if self.values is not None:
            return value.name in self.values
        producer = value.producer()
        is_constant = producer is not None and producer.op_type == "Constant"
        return value.dtype in FLOATS and not is_constant


FLOATS = frozenset(
    {ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE}
)
"""The types that are observed without being named."""
