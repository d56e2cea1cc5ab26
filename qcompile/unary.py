"""Functions of one number, as formulas in float64 and as 256-entry tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qcompile.quant import INTEGER_RANGES

F64 = npt.NDArray[np.float64]
Function = Callable[[F64], F64]

FLAT = 2.0**-10
"""A quarter of a step, if 256 of them cover a function's span."""

LEAST_GAIN = 2.0**-6
"""A part of a range that is not worth cutting off."""

LIVE_POINTS = 4097
"""Where `live_range` looks at a function."""

LARGEST = float(np.finfo(np.float32).max)


def unary_function(node: ir.Node) -> Function | None:
    """Return the real function that a node computes element by element.

    None where the node is no function of one number, or where its bounds, its attributes or
    its other operand are not constants that this file knows.
    """
    data = [value for value in node.inputs if value is not None and _scalar(value) is None]
    return chain_function([node], data[0]) if data else None


def chain_function(nodes: Sequence[ir.Node], x: ir.Value) -> Function | None:
    """Return what nodes that follow each other compute of x, number by number.

    x and the outputs before it may be operands of any node, and so may scalar constants;
    None where a node is no such function. `Sigmoid(x) * x` is one, and so is a decomposed
    Gelu.
    """
    known: dict[ir.Value, Function] = {x: lambda numbers: numbers}
    for node in nodes:
        function = _function_of(node, known)
        if function is None:
            return None
        known[node.outputs[0]] = function
    return known[nodes[-1].outputs[0]]


def _function_of(node: ir.Node, known: Mapping[ir.Value, Function]) -> Function | None:
    if node.domain not in ("", "ai.onnx") or not node.inputs or node.inputs[0] is None:
        return None
    if node.op_type in FORMULAS:
        source, make = known.get(node.inputs[0]), FORMULAS[node.op_type](node)
        return None if source is None or make is None else _after(make, source)
    operate = BINARY.get(node.op_type)
    if operate is None or len(node.inputs) != 2:
        return None
    left, right = (_operand(value, known, node.inputs) for value in node.inputs)
    return None if left is None or right is None else _between(operate, left, right)


def _after(function: Function, source: Function) -> Function:
    return lambda x: function(source(x))


def _between(operate: Callable[[F64, F64], F64], left: Function, right: Function) -> Function:
    return lambda x: operate(left(x), right(x))


def _operand(
    value: ir.Value | None,
    known: Mapping[ir.Value, Function],
    beside: Sequence[ir.Value | None],
) -> Function | None:
    """Return an operand as a function of x; a constant must not add axes to the result."""
    if value is None:
        return None
    if value in known:
        return known[value]
    number = _scalar(value)
    shapes = [other.shape for other in beside if other is not None and other in known]
    ranks = [len(shape) for shape in shapes if shape is not None]
    if number is None or value.shape is None or (ranks and len(value.shape) > max(ranks)):
        return None
    return lambda x: np.full_like(x, number)


def _scalar(value: ir.Value | None) -> float | None:
    """Return a constant of one floating-point number."""
    if value is None or value.const_value is None or value.is_graph_input():
        return None
    tensor = value.const_value
    if tensor.size != 1 or not tensor.dtype.is_floating_point():
        return None
    return float(tensor.numpy().reshape(()))


def requantize_table(
    x_scale: float,
    x_zero_point: int,
    x_dtype: ir.DataType,
    y_scale: float,
    y_zero_point: int,
    y_dtype: ir.DataType,
) -> npt.NDArray[np.generic]:
    """Return the table that only changes scale, zero point and type."""
    return tabulate(
        lambda x: x, x_scale, x_zero_point, x_dtype, y_scale, y_zero_point, y_dtype
    )


def tabulate(
    function: Function,
    x_scale: float,
    x_zero_point: int,
    x_dtype: ir.DataType,
    y_scale: float,
    y_zero_point: int,
    y_dtype: ir.DataType,
) -> npt.NDArray[np.generic]:
    """Return `clamp(rint(f((q - zx) * sx) / sy) + zy)` for every q, lowest first.

    All in float64; ties to even; where f is not a number (the root of a negative) it counts
    as 0.
    """
    low, high = INTEGER_RANGES[x_dtype]
    y_low, y_high = INTEGER_RANGES[y_dtype]
    x: F64 = (np.arange(low, high + 1, dtype=np.float64) - float(x_zero_point)) * float(
        x_scale
    )
    with np.errstate(all="ignore"):
        y = function(x)
        y = np.where(np.isnan(y), 0.0, y)
        steps = np.rint(y / float(y_scale)) + float(y_zero_point)
    return np.clip(steps, y_low, y_high).astype(y_dtype.numpy())


def live_range(function: Function, low: float, high: float) -> tuple[float, float]:
    """Return the part of [low, high] outside which the function stays what it is at its end.

    What it may still change there is FLAT of its span on [low, high].
    """
    x: F64 = np.linspace(low, high, LIVE_POINTS)
    with np.errstate(all="ignore"):
        y = np.nan_to_num(function(x), nan=0.0, posinf=LARGEST, neginf=-LARGEST)
    allowed = FLAT * float(y.max() - y.min())
    first = np.flatnonzero(np.abs(y - y[0]) > allowed)
    last = np.flatnonzero(np.abs(y - y[-1]) > allowed)
    if not first.size or not last.size:
        return low, high
    least = LEAST_GAIN * (high - low)
    begin, end = float(x[first[0] - 1]), float(x[last[-1] + 1])
    return begin if begin - low > least else low, end if high - end > least else high


def _parameter(node: ir.Node, name: str, default: float) -> float:
    """Return a float attribute; a default rounds to float32 as a written one does."""
    return float(np.float32(node.attributes.get_float(name, default)))


def _clip(node: ir.Node) -> Function | None:
    low, high = -math.inf, math.inf
    for index, value in enumerate(node.inputs[1:3]):
        if value is None:
            continue
        if value.const_value is None or value.is_graph_input() or value.const_value.size != 1:
            return None
        bound = float(value.const_value.numpy().reshape(()))
        low, high = (bound, high) if index == 0 else (low, bound)
    return lambda x: np.minimum(np.maximum(x, low), high)


def _leaky_relu(node: ir.Node) -> Function:
    alpha = _parameter(node, "alpha", 0.01)
    return lambda x: np.where(x < 0, alpha * x, x)


def _thresholded_relu(node: ir.Node) -> Function:
    alpha = _parameter(node, "alpha", 1.0)
    return lambda x: np.where(x > alpha, x, 0.0)


def _hard_sigmoid(node: ir.Node) -> Function:
    alpha, beta = _parameter(node, "alpha", 0.2), _parameter(node, "beta", 0.5)
    return lambda x: np.clip(alpha * x + beta, 0.0, 1.0)


def _elu(node: ir.Node) -> Function:
    alpha = _parameter(node, "alpha", 1.0)
    return lambda x: np.where(x < 0, alpha * np.expm1(np.minimum(x, 0.0)), x)


def _celu(node: ir.Node) -> Function:
    alpha = _parameter(node, "alpha", 1.0)
    return lambda x: np.maximum(x, 0.0) + np.minimum(0.0, alpha * np.expm1(x / alpha))


def _selu(node: ir.Node) -> Function:
    alpha = _parameter(node, "alpha", 1.67326319217681884765625)
    gamma = _parameter(node, "gamma", 1.05070102214813232421875)
    return lambda x: gamma * np.where(x <= 0, alpha * np.expm1(np.minimum(x, 0.0)), x)


def _gelu(node: ir.Node) -> Function | None:
    approximate = node.attributes.get_string("approximate", "none")
    if approximate == "none":
        return lambda x: 0.5 * x * (1.0 + _erf(x / math.sqrt(2.0)))
    if approximate == "tanh":
        factor = math.sqrt(2.0 / math.pi)
        return lambda x: 0.5 * x * (1.0 + np.tanh(factor * (x + 0.044715 * x**3)))
    return None


def _swish(node: ir.Node) -> Function:
    alpha = _parameter(node, "alpha", 1.0)
    return lambda x: x * _sigmoid(alpha * x)


def _erf(x: F64) -> F64:
    return np.array([math.erf(each) for each in x.ravel()], np.float64).reshape(x.shape)


def _sigmoid(x: F64) -> F64:
    z = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, z) / (1.0 + z)


def _softplus(x: F64) -> F64:
    return np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x)))


def _plain(function: Function) -> Callable[[ir.Node], Function | None]:
    return lambda node: function


FORMULAS: dict[str, Callable[[ir.Node], Function | None]] = {
    "Abs": _plain(np.abs),
    "Ceil": _plain(np.ceil),
    "Celu": _celu,
    "Clip": _clip,
    "Cos": _plain(np.cos),
    "Elu": _elu,
    "Erf": _plain(_erf),
    "Exp": _plain(np.exp),
    "Floor": _plain(np.floor),
    "Gelu": _gelu,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _plain(lambda x: x * np.clip(x / 6.0 + 0.5, 0.0, 1.0)),
    "LeakyRelu": _leaky_relu,
    "Log": _plain(np.log),
    "Mish": _plain(lambda x: x * np.tanh(_softplus(x))),
    "Neg": _plain(np.negative),
    "Reciprocal": _plain(np.reciprocal),
    "Relu": _plain(lambda x: np.maximum(x, 0.0)),
    "Round": _plain(np.rint),
    "Selu": _selu,
    "Sigmoid": _plain(_sigmoid),
    "Sign": _plain(np.sign),
    "Sin": _plain(np.sin),
    "Softplus": _plain(_softplus),
    "Softsign": _plain(lambda x: x / (1.0 + np.abs(x))),
    "Sqrt": _plain(np.sqrt),
    "Swish": _swish,
    "Tanh": _plain(np.tanh),
    "ThresholdedRelu": _thresholded_relu,
}
"""Operator -> the function of a node, from its attributes and constant inputs."""

UNARY_OPS = frozenset(FORMULAS)

BINARY: dict[str, Callable[[F64, F64], F64]] = {
    "Add": np.add,
    "Div": np.divide,
    "Max": np.maximum,
    "Min": np.minimum,
    "Mul": np.multiply,
    "Pow": np.power,
    "Sub": np.subtract,
}
"""Operators that are a function of one number where the other operand is a constant."""
