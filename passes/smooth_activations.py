"""Move the spread between the channels of an activation into the weights that read it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qcompile.graphs.rewriting import Names, new_type
from qcompile.regions import constant, sole_user
from qcompile.schemes.precision import NORMALIZATIONS, PRODUCT, SMOOTHED

Array = npt.NDArray[np.generic]
Floats = npt.NDArray[np.float64]

MOST = 2.0**16
"""Of a factor; beyond it float32 products could leave their range."""


def smoothed_values(graph: ir.Graph) -> list[str]:
    """Return the names of the values whose channels' maxima SmoothActivations needs."""
    return [str(group.value.name) for group in find_groups(graph)]


@dataclasses.dataclass(frozen=True)
class SmoothActivations(ir.passes.InPlacePass):
    """Divide channel j of an activation by s_j, and multiply row j of the weights by it.

    s_j = max |X_j|^alpha / max |W_j|^(1 - alpha)

    (SmoothQuant: G. Xiao et al., arXiv 2211.10438, 2023). A few channels that are much larger
    than the others take all levels of an 8-bit activation; a weight has a scale for each of
    its columns. The function stays the same: X' = X / s goes into the constants before X (of
    a LayerNormalization, a sum or product with constants, a MatMul or Gemm, also before a
    Relu). Where other nodes read X as well, as the residual of a BERT does, and a
    normalization gives it, X' is a product of its own, which stays float.

    Kept: an activation that anything else reads; computed weights; Gemm's transA; channels of
    which nothing was seen (s = 1).

    The maxima come from InsertObservers and a data set:

        names = smoothed_values(model.graph)
        observed = InsertObservers(frozenset(names))(model.clone()).model
        SmoothActivations(channel_maxima(observed, data, names))(model)

    Attributes:
        maxima: max |X_j| by the value's name (see `smoothed_values`).
        alpha: Between 0, all of the spread stays in the activation, and 1, none.
    """

    maxima: Mapping[str, Floats]
    alpha: float = 0.5

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Return the model and whether any activation was smoothed."""
        names = Names(model)
        modified = False
        for group in find_groups(model.graph):
            maxima = self.maxima.get(str(group.value.name))
            if maxima is None:
                continue
            factors = smoothing_factors(maxima, group.rows(), self.alpha)
            if (factors == 1.0).all():
                continue
            group.apply(factors, names)
            modified = True
        return ir.passes.PassResult(model, modified)


@dataclasses.dataclass(frozen=True)
class Edit:
    """A constant input that is multiplied along an axis, or divided."""

    node: ir.Node
    index: int
    axis: int
    divide: bool

    def apply(self, factors: Floats, names: Names) -> None:
        """Give the node its own constant, multiplied in float64 and rounded once."""
        value = self.node.inputs[self.index]
        array = constant(value)
        assert value is not None
        assert array is not None
        assert self.node.graph is not None
        shape = [1] * max(array.ndim, 1)
        shape[self.axis] = factors.size
        by = (1.0 / factors if self.divide else factors).reshape(shape)
        product = (array.astype(np.float64) * by).astype(array.dtype)
        new = names.initializer(self.node.graph, f"{value.name}_smooth", product)
        self.node.replace_input_with(self.index, new)


@dataclasses.dataclass(frozen=True)
class Group:
    """An activation and what reads it.

    Attributes:
        value: The activation, its channels on the last axis.
        readers: The weights that are multiplied.
        before: The constants before it that are divided; none where it gets a product.
    """

    value: ir.Value
    readers: tuple[Edit, ...]
    before: tuple[Edit, ...]

    def rows(self) -> Floats:
        """Return max |W_j| over all readers, [C]."""
        found = []
        for reader in self.readers:
            weight = constant(reader.node.inputs[reader.index])
            assert weight is not None
            found.append(np.abs(weight.astype(np.float64)).max(axis=1 - reader.axis))
        return np.asarray(np.max(found, axis=0), np.float64)

    def apply(self, factors: Floats, names: Names) -> None:
        """Divide the activation and multiply the weights."""
        for edit in (*self.before, *self.readers):
            edit.apply(factors, names)
        producer = self.value.producer()
        assert producer is not None
        producer.metadata_props[SMOOTHED] = "folded"
        if self.before:
            return
        value, graph = self.value, producer.graph
        assert isinstance(graph, ir.Graph)
        assert value.dtype is not None
        divisors = (1.0 / factors).astype(value.dtype.numpy())
        stem = f"{value.name}_smooth"
        scales = names.initializer(graph, f"{stem}_factors", divisors)
        product = names.node("Mul", [value, scales], name=stem, like=value)
        product.outputs[0].type = new_type(value)
        product.metadata_props[SMOOTHED] = PRODUCT
        graph.insert_after(producer, product)
        for reader in self.readers:
            reader.node.replace_input_with(0, product.outputs[0])


def smoothing_factors(activations: Floats, rows: Floats, alpha: float) -> Floats:
    """Return s_j, 1 where a channel or its row is zero throughout."""
    with np.errstate(divide="ignore", invalid="ignore"):
        factors = activations**alpha / rows ** (1.0 - alpha)
    seen = (activations > 0) & (rows > 0)
    return np.where(seen, np.clip(factors, 1 / MOST, MOST), 1.0)


def find_groups(graph: ir.Graph) -> Iterator[Group]:
    """Give the activations that can be smoothed, in order."""
    for node in list(graph):
        value = node.outputs[0] if node.outputs else None
        if value is None or SMOOTHED in node.metadata_props or channels(value) is None:
            continue
        if value.is_graph_output():
            continue
        uses = list(value.uses())
        readers = [reading(use.node, value) for use in uses if use.idx == 0]
        weighted = tuple(edit for edit in readers if edit is not None)
        if not weighted or any(edit.node.graph is not graph for edit in weighted):
            continue
        if len(weighted) < len(uses):
            if node.op_type in NORMALIZATIONS and node.domain in ("", "ai.onnx"):
                yield Group(value, weighted, ())
            continue
        before = list(dividing(node))
        if before and None not in before:
            yield Group(value, weighted, tuple(edit for edit in before if edit is not None))


def channels(value: ir.Value) -> int | None:
    """Return the size of the last axis of a float value, where it is known."""
    if value.dtype not in (ir.DataType.FLOAT, ir.DataType.DOUBLE):
        return None
    if value.shape is None or not len(value.shape):
        return None
    size = value.shape[-1]
    return size if isinstance(size, int) and size > 1 else None


def reading(node: ir.Node, value: ir.Value) -> Edit | None:
    """Return the rows of a constant weight that multiply the channels of a value."""
    if node.op_type not in ("MatMul", "Gemm") or node.domain not in ("", "ai.onnx"):
        return None
    weight = constant(node.inputs[1])
    if weight is None or weight.ndim != 2 or value in node.inputs[1:]:
        return None
    if node.attributes.get_int("transA", 0):
        return None
    return Edit(node, 1, node.attributes.get_int("transB", 0) or 0, divide=False)


def dividing(node: ir.Node) -> Iterator[Edit | None]:
    """Give the constants that divide a node's channels if divided; None if it cannot be."""
    own = _own(node)
    yield from own
    if None in own or node.op_type not in ("Relu", "Add"):
        return
    (data,) = (value for value in node.inputs if value is not None and constant(value) is None)
    producer = data.producer()
    alone = sole_user(data) is node and channels(data) == channels(node.outputs[0])
    if producer is None or not alone or SMOOTHED in producer.metadata_props:
        yield None
    else:
        yield from dividing(producer)


def _own(node: ir.Node) -> list[Edit | None]:
    """Return what of a node itself must be divided."""
    if node.domain not in ("", "ai.onnx") or len(node.outputs) > 1:
        return [None]
    size = channels(node.outputs[0])
    given = [index for index, value in enumerate(node.inputs) if value is not None]
    constants = [index for index in given if _by_channel(node.inputs[index], size)]
    if node.op_type == "Relu":
        return []
    if node.op_type in ("Add", "Mul"):
        return [Edit(node, constants[0], -1, True)] if len(constants) == 1 else [None]
    if given[1:] != constants:
        return [None]
    if node.op_type == "LayerNormalization":
        rank = len(node.outputs[0].shape or ())
        last = node.attributes.get_int("axis", -1) in (-1, rank - 1)
        return [Edit(node, index, -1, True) for index in given[1:]] if last else [None]
    if node.op_type in ("MatMul", "Gemm"):
        axis = 0 if node.attributes.get_int("transB", 0) else 1
        return [Edit(node, n, axis if n == 1 else -1, True) for n in given[1:]]
    return [None]


def _by_channel(value: ir.Value | None, size: int | None) -> bool:
    """Whether a value is a constant that NumPy's rules spread over the channels."""
    array = constant(value)
    return array is not None and (array.ndim != 1 or array.size in (1, size))
