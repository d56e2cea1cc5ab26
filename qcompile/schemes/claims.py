"""The quantization parameters of a model's tensors, collected and written on its values."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import onnx_ir as ir

from qcompile.graphs.qdq import real_constant
from qcompile.graphs.rewriting import Names
from qcompile.quant import QParams

QPARAMS = "qparams"
"""meta key of a value: its QParams."""


@dataclasses.dataclass(frozen=True)
class Use:
    """One input of one node."""

    node: ir.Node
    index: int


@dataclasses.dataclass
class Schemes:
    """Parameters by activation, and by use of a constant.

    Attributes:
        activations: The parameters of computed values and graph inputs.
        constants: For each constant, the uses that want the same parameters.
    """

    activations: dict[ir.Value, QParams] = dataclasses.field(default_factory=dict)
    constants: dict[ir.Value, dict[QParams, list[Use]]] = dataclasses.field(
        default_factory=dict
    )

    def claim(self, node: ir.Node, index: int, qparams: QParams) -> None:
        """Say under which parameters a node reads a constant."""
        value = node.inputs[index]
        assert value is not None
        self.constants.setdefault(value, {}).setdefault(qparams, []).append(Use(node, index))

    def write(self, model: ir.Model) -> bool:
        """Write the parameters on the values, and take them off all others.

        A constant that is also read under other parameters, or in float, is copied for the
        uses that share parameters, so that a value has one scheme.

        Returns:
            Whether anything changed.
        """
        wanted = dict(self.activations)
        copies: list[tuple[ir.Value, QParams, list[Use]]] = []
        for value, claims in self.constants.items():
            schemes = list(claims.items())
            if _is_read_only_by(value, claims.values()):
                wanted[value], _ = schemes.pop(0)
            copies += [(value, qparams, uses) for qparams, uses in schemes]
        if copies:
            names = Names(model)
            for value, qparams, uses in copies:
                wanted[_copy(value, uses, names)] = qparams
        changed = [_describe(value, wanted.get(value)) for value in _values(model.graph)]
        return bool(copies) or any(changed)


def _copy(value: ir.Value, uses: list[Use], names: Names) -> ir.Value:
    array, graph = real_constant(value), uses[0].node.graph
    assert array is not None
    assert graph is not None
    copy = names.initializer(graph, f"{value.name}_copy", array.astype("float32"))
    for use in uses:
        use.node.replace_input_with(use.index, copy)
    return copy


def _is_read_only_by(value: ir.Value, claims: Iterable[list[Use]]) -> bool:
    claimed = sum(len(uses) for uses in claims)
    alone = claimed == len(value.uses()) and not value.is_graph_output()
    return alone and value.is_initializer()


def _describe(value: ir.Value, qparams: QParams | None) -> bool:
    if value.meta.get(QPARAMS) == qparams:
        return False
    if qparams is None:
        del value.meta[QPARAMS]
    else:
        value.meta[QPARAMS] = qparams
    return True


def _values(graph: ir.Graph) -> list[ir.Value]:
    computed = [value for node in graph for value in node.outputs]
    return [*graph.inputs, *graph.initializers.values(), *computed]
