"""Write LSTM, GRU and RNN as matrix products and functions, step by step."""

from __future__ import annotations

import dataclasses

import onnx_ir as ir

from qcompile.errors import UnsupportedOpError
from qcompile.graphs.building import Builder
from qcompile.graphs.expressions import Expressions, has_sizes, sizes
from qcompile.graphs.recurrent_activations import activations
from qcompile.graphs.recurrent_cells import Gru, Lstm, Rnn, State
from qcompile.graphs.rewriting import Names, take_over
from qcompile.regions import constant

DEFAULTS = {
    "LSTM": ("Sigmoid", "Tanh", "Tanh"),
    "GRU": ("Sigmoid", "Tanh"),
    "RNN": ("Tanh",),
}
"""The activations of one direction, by operator."""

STATES = {"LSTM": 2, "GRU": 1, "RNN": 1}


@dataclasses.dataclass(frozen=True)
class LowerRecurrent(ir.passes.InPlacePass):
    """Replace an LSTM, a GRU or an RNN by its steps (see `graphs/recurrent_cells.py`).

    What the input gives is one product for all steps, X W^T + Wb + Rb, with a Slice a step;
    what is left in a step is one product with the state (two in a GRU), its sum with the
    Slice, and the functions. All attributes are heeded: direction, layout, activations and
    their parameters, clip, input_forget, linear_before_reset; so are initial states and
    peepholes. Weights may be computed. A state that is constantly zero is left out.

    Kept: a node whose shapes are not known.

    Attributes:
        most_steps: The longest sequence that is unrolled.

    Example:
        before:
            g (float[2,1,2] x) => (float[1,1,1] h)
            <float[1,1,2] w = {1.0, 2.0}, float[1,1,1] r = {3.0}>
            { y, h = RNN <hidden_size = 1> (x, w, r) }
        after:
            g (float[2,1,2] x) => (float[1,1,1] h)
            <float[2,1] w = {1.0, 2.0}, float[1,1] r = {3.0},
             int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2}>
            { p = MatMul (x, w)  p0 = Slice (p, zero, one, zero)  h0 = Tanh (p0)
              p1 = Slice (p, one, two, zero)  q = MatMul (h0, r)  s = Add (p1, q)
              h = Tanh (s) }
    """

    most_steps: int = 512

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Return the model and whether any node was replaced.

        Raises:
            UnsupportedOpError: The sequence is too long or its lengths are not all of it, or
                an activation is unknown.
        """
        names = Names(model)
        modified = False
        for node in ir.traversal.RecursiveGraphIterator(model.graph):
            if node.op_type not in DEFAULTS or node.domain not in ("", "ai.onnx"):
                continue
            if all(has_sizes(value) for value in node.inputs[:3]):
                self._check_steps(node)
                lower(node, names)
                modified = True
        return ir.passes.PassResult(model, modified)

    def _check_steps(self, node: ir.Node) -> None:
        x, lengths = needed(node, 0), given(node, 4)
        steps = sizes(x)[1 if node.attributes.get_int("layout", 0) else 0]
        where = f"node {node.name!r} ({node.op_type})"
        if not 1 <= steps <= self.most_steps:
            raise UnsupportedOpError(
                f"its sequence has {steps} steps, and 1 to {self.most_steps} are unrolled",
                where=where,
                hint="give the input a shorter sequence: --shape, or export it so",
            )
        array = constant(lengths)
        if lengths is not None and (array is None or not (array == steps).all()):
            raise UnsupportedOpError(
                "its sequence_lens is not constantly the whole length",
                where=where,
                hint="export it without sequence_lens, for sequences of one length",
            )


def lower(node: ir.Node, names: Names) -> None:
    """Put the steps in the place of the node."""
    write = Expressions(Builder(names, node))
    batch_first = bool(node.attributes.get_int("layout", 0))
    x = needed(node, 0)
    if batch_first:
        x = write.transpose(x, [1, 0, 2])
    found = [
        run_direction(node, write.named(f"direction{at}"), x, at)
        for at in range(sizes(needed(node, 1))[0])
    ]
    steps, batch, size = sizes(x)[0], sizes(x)[1], sizes(needed(node, 2))[2]
    for index, old in enumerate(node.outputs):
        if not old.uses() and not old.is_graph_output():
            continue
        if index == 0:
            parts = [
                write.reshape(write.concat(outputs, 0), [steps, 1, batch, size])
                for outputs, _ in found
            ]
            new, order = write.concat(parts, 1), [2, 0, 1, 3]
        else:
            last = [state[index - 1] for _, state in found]
            new, order = write.concat([value for value in last if value], 0), [1, 0, 2]
        take_over(old, write.transpose(new, order) if batch_first else new)
    assert node.graph is not None
    node.graph.remove(node, safe=True)


def run_direction(
    node: ir.Node, write: Expressions, x: ir.Value, at: int
) -> tuple[list[ir.Value], State]:
    """Return h of every step in the sequence's order, and the last state.

    Args:
        node: The recurrent node.
        write: Writes before it.
        x: The sequence, [S,N,I].
        at: The direction's place in the weights.
    """
    cell, weight, bias = read_cell(node, write, at)
    projected = write.matmul(x, weight)
    if bias is not None:
        projected = write.add(projected, bias)
    state = initial_state(node, write, at)
    steps = sizes(x)[0]
    backwards = at == 1 or node.attributes.get_string("direction", "forward") == "reverse"
    outputs: list[ir.Value] = []
    for step in range(steps)[:: -1 if backwards else 1]:
        part = write.part(projected, 0, step, step + 1)
        state = cell.step(write.named(f"step{step}"), part, state)
        assert state[0] is not None
        outputs.append(state[0])
    return outputs[:: -1 if backwards else 1], state


def read_cell(
    node: ir.Node, write: Expressions, at: int
) -> tuple[Lstm | Gru | Rnn, ir.Value, ir.Value | None]:
    """Return a direction's cell, the weight of its input, [I,G*H], and the bias, [G*H]."""
    weight, hidden = (matrix(write, needed(node, index), at) for index in (1, 2))
    size, width = sizes(hidden)
    of_input, of_hidden = None, None
    if (bias := given(node, 3)) is not None:
        of_input, of_hidden = write.parts(row(write, bias, at), 0, 2)
    defaults = DEFAULTS[node.op_type]
    count = sizes(needed(node, 1))[0]
    functions = activations(node, defaults * count)
    functions = functions[at * len(defaults) :][: len(defaults)]
    if node.op_type == "GRU":
        before = bool(node.attributes.get_int("linear_before_reset", 0))
        cut = [(0, 2 * size), (2 * size, width)]
        gates, candidate = (write.part(hidden, 1, *ends) for ends in cut)
        own = None
        if before and of_hidden is not None:
            of_hidden, own = (write.part(of_hidden, 0, *ends) for ends in cut)
            of_hidden = write.concat([of_hidden, write.zeros([size], own)], 0)
        cell: Lstm | Gru | Rnn = Gru(hidden, gates, candidate, own, functions, before)
    elif node.op_type == "LSTM":
        weights = given(node, 7)
        peepholes = (
            None if weights is None else tuple(write.parts(row(write, weights, at), 0, 3))
        )
        coupled = bool(node.attributes.get_int("input_forget", 0))
        cell = Lstm(hidden, peepholes, functions, coupled)
    else:
        cell = Rnn(hidden, functions)
    both = write.add(of_input, of_hidden) if of_input and of_hidden else None
    return cell, weight, both


def initial_state(node: ir.Node, write: Expressions, at: int) -> State:
    """Return h, and c of an LSTM, before the first step, [1,N,H] each."""
    found: list[ir.Value | None] = []
    for index in range(5, 5 + STATES[node.op_type]):
        value = given(node, index)
        array = constant(value)
        if value is None or (array is not None and not array.any()):
            found.append(None)
            continue
        if node.attributes.get_int("layout", 0):
            value = write.transpose(value, [1, 0, 2])
        found.append(write.part(value, 0, at, at + 1))
    return tuple(found)


def matrix(write: Expressions, value: ir.Value, at: int) -> ir.Value:
    """Return the transposed matrix of a direction, out of [D,rows,columns]."""
    _, rows, columns = sizes(value)
    one = write.reshape(write.part(value, 0, at, at + 1), [rows, columns])
    return write.transpose(one, [1, 0])


def row(write: Expressions, value: ir.Value, at: int) -> ir.Value:
    """Return the row of a direction, out of [D,columns]."""
    return write.reshape(write.part(value, 0, at, at + 1), [sizes(value)[1]])


def given(node: ir.Node, index: int) -> ir.Value | None:
    """Return an input, None where it is left out."""
    return node.inputs[index] if index < len(node.inputs) else None


def needed(node: ir.Node, index: int) -> ir.Value:
    """Return an input that every recurrent node has."""
    value = node.inputs[index]
    assert value is not None
    return value
