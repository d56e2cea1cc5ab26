"""One step of an LSTM, a GRU and a plain recurrent network, written as operators.

Values are [1,N,...], N the batch; H is the hidden size. A state that is None is zero.
"""

from __future__ import annotations

import dataclasses

import onnx_ir as ir

from qcompile.graphs.expressions import Expressions, sizes
from qcompile.graphs.recurrent_activations import Activation

State = tuple[ir.Value | None, ...]
Functions = tuple[Activation, ...]


@dataclasses.dataclass(frozen=True)
class Lstm:
    """Gates i, o, f, c; the state is (h, c).

    i = f(x_i + h R_i + P_i c)        f = f(x_f + h R_f + P_f c)        c~ = g(x_c + h R_c)
    c' = f c + i c~                   o = f(x_o + h R_o + P_o c')       h' = o h(c')

    Attributes:
        hidden: R, [H,4H].
        peepholes: P of i, o and f, [H] each.
        functions: f, g and h; the state itself is not clipped before h, as onnxruntime has it.
        input_forget: Whether f = 1 - i.
    """

    hidden: ir.Value
    peepholes: tuple[ir.Value, ...] | None
    functions: Functions
    input_forget: bool

    def step(self, write: Expressions, x: ir.Value, state: State) -> State:
        """Return the next h and c; x is [1,N,4H], biases included."""
        h, c = state
        f, g = self.functions[:2]
        squash = dataclasses.replace(self.functions[2], clip=None)
        of_i, of_o, of_f = self.peepholes or (None, None, None)
        i, o, forget, new = write.parts(plus(write, x, matmul(write, h, self.hidden)), 2, 4)
        i = f(write, plus(write, i, times(write, of_i, c)))
        cell = write.multiply(i, g(write, new))
        if c is not None:
            forget = (
                write.subtract(write.number(1.0, i), i)
                if self.input_forget
                else f(write, plus(write, forget, times(write, of_f, c)))
            )
            cell = write.add(write.multiply(forget, c), cell)
        o = f(write, plus(write, o, times(write, of_o, cell)))
        return write.multiply(o, squash(write, cell)), cell


@dataclasses.dataclass(frozen=True)
class Gru:
    """Gates z, r, h; the state is (h).

    z = f(x_z + h R_z)     r = f(x_r + h R_r)     h~ = g(x_h + (r h) R_h)
    h' = (1 - z) h~ + z h

    With `linear_before_reset`, h~ = g(x_h + r (h R_h + b_h)).

    Attributes:
        hidden: R, [H,3H], of z, r and h.
        gates: R of z and r, [H,2H].
        candidate: R of h, [H,H].
        bias: b_h, [H]; else it is part of x.
        functions: f and g.
        linear_before_reset: Which of the forms.
    """

    hidden: ir.Value
    gates: ir.Value
    candidate: ir.Value
    bias: ir.Value | None
    functions: Functions
    linear_before_reset: bool

    def step(self, write: Expressions, x: ir.Value, state: State) -> State:
        """Return the next h; x is [1,N,3H]."""
        (h,) = state
        f, g = self.functions
        size = sizes(x)[2] // 3
        x_zr, x_h = write.part(x, 2, 0, 2 * size), write.part(x, 2, 2 * size, 3 * size)
        linear = matmul(write, h, self.hidden) if self.linear_before_reset else None
        if linear is not None:
            zr = plus(write, x_zr, write.part(linear, 2, 0, 2 * size))
            linear = write.part(linear, 2, 2 * size, 3 * size)
        else:
            zr = plus(write, x_zr, matmul(write, h, self.gates))
        z, r = write.parts(f(write, zr), 2, 2)
        if self.linear_before_reset:
            biased = self.bias if linear is None else plus(write, linear, self.bias)
            reset = times(write, r, biased)
        else:
            reset = matmul(write, times(write, r, h), self.candidate)
        new = g(write, plus(write, x_h, reset))
        new = write.multiply(write.subtract(write.number(1.0, z), z), new)
        return (plus(write, new, times(write, z, h)),)


@dataclasses.dataclass(frozen=True)
class Rnn:
    """h' = f(x + h R); the state is (h).

    Attributes:
        hidden: R, [H,H].
        functions: f.
    """

    hidden: ir.Value
    functions: Functions

    def step(self, write: Expressions, x: ir.Value, state: State) -> State:
        """Return the next h; x is [1,N,H]."""
        (h,) = state
        return (self.functions[0](write, plus(write, x, matmul(write, h, self.hidden))),)


def plus(write: Expressions, x: ir.Value, term: ir.Value | None) -> ir.Value:
    """Return x + term, None being zero."""
    return x if term is None else write.add(x, term)


def times(write: Expressions, a: ir.Value | None, b: ir.Value | None) -> ir.Value | None:
    """Return a * b, None being zero."""
    return None if a is None or b is None else write.multiply(a, b)


def matmul(write: Expressions, h: ir.Value | None, weight: ir.Value) -> ir.Value | None:
    """Return h times a weight, None being zero."""
    return None if h is None else write.matmul(h, weight)
