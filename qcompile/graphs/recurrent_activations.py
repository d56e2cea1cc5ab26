"""The activations that LSTM, GRU and RNN name, written as operators."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import onnx_ir as ir

from qcompile.errors import UnsupportedOpError
from qcompile.graphs.expressions import Expressions

ALPHA_BETA: Mapping[str, tuple[float | None, ...]] = {
    "Affine": (None, None),
    "Elu": (1.0,),
    "HardSigmoid": (0.2, 0.5),
    "LeakyRelu": (0.01,),
    "Relu": (),
    "ScaledTanh": (None, None),
    "Sigmoid": (),
    "Softplus": (),
    "Softsign": (),
    "Tanh": (),
    "ThresholdedRelu": (None,),
}
"""By name, what alpha and beta are where nothing is said.

None where it must be said: runtimes do not agree on those.
"""


@dataclasses.dataclass(frozen=True)
class Activation:
    """A function of one number, after a bound on its input.

    Attributes:
        name: One of ALPHA_BETA.
        alpha: Its first parameter, if it has any.
        beta: Its second one.
        clip: The greatest magnitude of its input; None for no bound.
    """

    name: str
    alpha: float = 0.0
    beta: float = 0.0
    clip: float | None = None

    def __call__(self, write: Expressions, x: ir.Value) -> ir.Value:
        """Return the function of x."""
        if self.clip is not None:
            x = write.clip(x, self.clip)
        if self.name == "Affine":
            scaled = write.multiply(x, write.number(self.alpha, x))
            return write.add(scaled, write.number(self.beta, x))
        if self.name == "ScaledTanh":
            inner = write.multiply(x, write.number(self.beta, x))
            return write.multiply(write.function("Tanh", inner), write.number(self.alpha, x))
        given = dict(zip(("alpha", "beta"), (self.alpha, self.beta), strict=True))
        count = len(ALPHA_BETA[self.name])
        return write.function(self.name, x, dict(list(given.items())[:count]))


def activations(node: ir.Node, defaults: Sequence[str]) -> tuple[Activation, ...]:
    """Return the activations of a recurrent node, `defaults` where it names none.

    Alphas and betas go to the functions that take them, in their order.

    Raises:
        UnsupportedOpError: An unknown name, or a parameter that is missing.
    """
    names = node.attributes.get_strings("activations", list(defaults)) or list(defaults)
    alphas = iter(node.attributes.get_floats("activation_alpha", []))
    betas = iter(node.attributes.get_floats("activation_beta", []))
    clip = node.attributes.get_float("clip", 0.0) or None
    known = {name.lower(): name for name in ALPHA_BETA}
    found = []
    for name in names:
        if name.lower() not in known:
            raise UnsupportedOpError(
                f"its activation {name!r} is unknown",
                where=f"node {node.name!r} ({node.op_type})",
                hint=f"there are {', '.join(ALPHA_BETA)}",
            )
        standard = known[name.lower()]
        given = [
            _next(node, source, default, standard)
            for source, default in zip((alphas, betas), ALPHA_BETA[standard], strict=False)
        ]
        alpha, beta = (*given, 0.0, 0.0)[:2]
        found.append(Activation(standard, alpha, beta, clip))
    return tuple(found)


def _next(
    node: ir.Node, source: Iterator[float], default: float | None, function: str
) -> float:
    number = next(source, default)
    if number is None:
        raise UnsupportedOpError(
            f"its activation {function} lacks a parameter",
            where=f"node {node.name!r} ({node.op_type})",
            hint="give activation_alpha and activation_beta",
        )
    return float(number)
