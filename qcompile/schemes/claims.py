"""The quantization parameters of a model's tensors, collected and written on its values."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import onnx_ir as ir

from qcompile.calibration.outliers import Outliers
from qcompile.graphs.qdq import real_constant
from qcompile.graphs.rewriting import Names
from qcompile.quant import QParams
from qcompile.regions import is_constant

QPARAMS = "qparams"
"""meta key of a value: its QParams."""

INPUT_QPARAMS = "input_qparams"
"""meta key of a node: the QParams of inputs that it reads on a scale of its own, by index."""


OUTLIERS = "outliers"
"""meta key of a value: what calibration saw and its range leaves out."""


@dataclasses.dataclass(frozen=True)
class Use:
    """One input of one node; another node may read the same value on another scale."""

    node: ir.Node
    index: int

    @property
    def value(self) -> ir.Value:
        """What is read."""
        value = self.node.inputs[self.index]
        assert value is not None
        return value


@dataclasses.dataclass
class Schemes:
    """Parameters by activation, and by use.

    Attributes:
        activations: The parameters of computed values and graph inputs.
        reads: The parameters of activations where one node reads them on its own scale.
        outliers: What the range of an activation leaves out.
        constants: For each constant, the uses that want the same parameters.
    """

    activations: dict[ir.Value, QParams] = dataclasses.field(default_factory=dict)
    reads: dict[Use, QParams] = dataclasses.field(default_factory=dict)
    outliers: dict[ir.Value, Outliers] = dataclasses.field(default_factory=dict)
    constants: dict[ir.Value, dict[QParams, list[Use]]] = dataclasses.field(
        default_factory=dict
    )

    def claim(self, use: Use, qparams: QParams) -> None:
        """Say under which parameters a node reads a constant, or an activation others read."""
        if is_constant(use.value):
            claims = self.constants.setdefault(use.value, {})
            claims.setdefault(qparams, []).append(use)
        else:
            self.reads[use] = qparams

    def write(self, model: ir.Model) -> bool:
        """Write the parameters on values and on nodes, and take them off all others.

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
        inputs: dict[ir.Node, dict[int, QParams]] = {}
        for use, qparams in self.reads.items():
            if qparams != self.activations.get(use.value):
                inputs.setdefault(use.node, {})[use.index] = qparams
        changed = [_describe(value, wanted.get(value)) for value in _values(model.graph)]
        for value in _values(model.graph):
            _describe(value, self.outliers.get(value), OUTLIERS)
        changed += [_describe(node, inputs.get(node), INPUT_QPARAMS) for node in model.graph]
        return bool(copies) or any(changed)


def outliers(graph: ir.Graph) -> dict[str, Outliers]:
    """Return what the ranges of values leave out, by name."""
    return {
        str(value.name): value.meta[OUTLIERS]
        for value in _values(graph)
        if OUTLIERS in value.meta
    }


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


def _describe(
    where: ir.Value | ir.Node,
    what: QParams | dict[int, QParams] | Outliers | None,
    key: str = QPARAMS,
) -> bool:
    if where.meta.get(key) == what:
        return False
    if what is None:
        del where.meta[key]
    else:
        where.meta[key] = what
    return True


def _values(graph: ir.Graph) -> list[ir.Value]:
    computed = [value for node in graph for value in node.outputs]
    return [*graph.inputs, *graph.initializers.values(), *computed]
