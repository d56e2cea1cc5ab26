"""exp, erf, tanh and their kin on float32 vectors, the same bits on every instruction set.

Every product that a sum follows is an explicit fma, and a power of two is multiplied by
adding to the exponent, so that no compiler has anything left to contract.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr
from qcompile.targets.kernels.epilogue import rounded, splat, vector
from qcompile.targets.kernels.kept import kept

LOG2_E = 1.44269504
LN2_HIGH, LN2_LOW = 0.693359375, -2.12194440e-4
"""ln 2 as a sum whose first part has few bits: n * LN2_HIGH is exact."""

EXP = (
    1.9875691500e-4,
    1.3981999507e-3,
    8.3334519073e-3,
    4.1665795894e-2,
    1.6666665459e-1,
    5.0000001201e-1,
)
"""(exp(r) - 1 - r) / r**2 for |r| <= ln(2) / 2 (Cephes, expf)."""

EXP2 = (1.32646854e-3, 9.67150927e-3, 5.55072054e-2, 2.40222439e-1, 6.93147004e-1, 1.0)
"""2**f for |f| <= 1/2, within 1.6 * 2**-24 of it."""

POWER = 3.0 * 2**22 + 127
"""A float32 whose last place is 1 and whose eight lowest bits are the exponent of 1."""

SMALLEST = -87.0
"""Below it exp is nearly, and in the end no longer, a normal float32."""

ERF_NEAR = (
    -5.96761703e-4,
    4.99119423e-3,
    -2.67681349e-2,
    1.12819925e-1,
    -3.76125336e-1,
    1.28379166e-1,
)
"""erf(x) / x - 1 in x**2, up to ERF_SPLIT."""

ERF_FAR = (
    -1.72853470e-5,
    3.83197126e-4,
    -3.88396438e-3,
    2.42546219e-2,
    -1.06777877e-1,
    -6.34846687e-1,
    -1.28717512e-1,
)
"""log(1 - erf(t)) / t + 1, beyond ERF_SPLIT."""

ERF_SPLIT, ERF_END = 0.927734375, 9.0
TANH_NEAR = (
    -5.70498872745e-3,
    2.06390887954e-2,
    -5.37397155531e-2,
    1.33314422036e-1,
    -3.33332819422e-1,
)
"""(tanh(x) - x) / x**3 in x**2, up to TANH_SPLIT (Cephes, tanhf)."""

TANH_SPLIT, TANH_END = 0.625, 10.0
GELU_CUBIC, GELU_LINEAR = 0.035677408136, 0.797884560803
"""sqrt(2 / pi) * 0.044715, and sqrt(2 / pi)."""


def exp(x: Expr, lanes: int) -> Expr:
    """Return e**x for every x, within 1 ulp: inf above, denormal numbers below."""
    low, high = splat("float32", -110.0, lanes), splat("float32", 90.0, lanes)
    x = kept(tir.Select(x < low, low, x))  # a NaN stays one
    x = kept(tir.Select(x > high, high, x))
    fraction, power = _reduced(x, lanes)
    half = kept(tir.shift_right(power, splat("int32", 1, lanes)))
    bias = splat("int32", 127, lanes)
    other = tir.shift_left(power - half + bias, splat("int32", 23, lanes))
    factor = tir.reinterpret(vector("float32", lanes), other)
    return kept(_scaled(fraction, half, lanes) * factor)


def exp_below(x: Expr, lanes: int) -> Expr:
    """Return e**x for x <= 0, for the shares of a softmax; 0 below SMALLEST.

    n = rint(x * LOG2_E)        f = x * LOG2_E - n        e**x = 2**f * 2**n

    within 2.2 ulp and, as LOG2_E is rounded, |x| / 4 more. The sum of x * LOG2_E and POWER
    has n + 127 in its lowest bits: the exponent of 2**n.
    """
    x, zero = kept(x), splat("float32", 0, lanes)
    log2_e, power = splat("float32", LOG2_E, lanes), splat("float32", POWER, lanes)
    shifted = kept(tir.fma(x, log2_e, power))
    fraction = kept(tir.fma(x, log2_e, power - shifted))
    bits = tir.reinterpret(vector("int32", lanes), shifted)
    exponent = tir.shift_left(bits, splat("int32", 23, lanes))
    number = polynomial(EXP2, fraction, lanes) * tir.reinterpret(
        vector("float32", lanes), exponent
    )
    return kept(tir.Select(x < splat("float32", SMALLEST, lanes), zero, number))


def exp_within(x: Expr, lanes: int) -> Expr:
    """Return e**x for x in [SMALLEST, -SMALLEST], within 1 ulp."""
    return _scaled(*_reduced(kept(x), lanes), lanes)


def sigmoid(x: Expr, lanes: int) -> Expr:
    """Return 1 / (1 + e**-x)."""
    one, end = splat("float32", 1, lanes), splat("float32", -SMALLEST, lanes)
    x = kept(tir.Select(x > end, end, tir.Select(x < -end, -end, x)))
    return kept(one / (one + exp_within(-x, lanes)))


def tanh(x: Expr, lanes: int) -> Expr:
    """Return the tanh: a polynomial near 0, else 1 - 2 / (1 + e**2|x|) with the sign of x."""
    x = kept(x)
    one, end = splat("float32", 1, lanes), splat("float32", TANH_END, lanes)
    size = kept(_magnitude(x, lanes))
    size = kept(tir.Select(size > end, end, size))
    square = kept(x * x)
    odd = kept(polynomial(TANH_NEAR, square, lanes) * square)
    near = tir.fma(odd, x, x)
    two = splat("float32", 2, lanes)
    far = one - two / (one + exp_within(size + size, lanes))
    split = splat("float32", TANH_SPLIT, lanes)
    return kept(tir.Select(size < split, near, _with_sign(far, x, lanes)))


def erf(x: Expr, lanes: int) -> Expr:
    """Return the error function: a polynomial near 0, else 1 - e**polynomial, of x's sign."""
    x = kept(x)
    end = splat("float32", ERF_END, lanes)
    size = kept(_magnitude(x, lanes))
    size = kept(tir.Select(size > end, end, size))
    near = tir.fma(polynomial(ERF_NEAR, kept(size * size), lanes), x, x)
    power = tir.fma(polynomial(ERF_FAR, size, lanes), size, -size)
    lowest = splat("float32", SMALLEST, lanes)
    power = kept(power)
    power = tir.Select(power < lowest, lowest, power)
    far = splat("float32", 1, lanes) - exp_within(power, lanes)
    split = splat("float32", ERF_SPLIT, lanes)
    return kept(tir.Select(size < split, near, _with_sign(far, x, lanes)))


def gelu(x: Expr, lanes: int) -> Expr:
    """Return x / 2 * (1 + erf(x / sqrt(2)))."""
    x = kept(x)
    half = kept(x * splat("float32", 0.5, lanes))
    return tir.fma(half, erf(x * splat("float32", 0.70710678, lanes), lanes), half)


def gelu_tanh(x: Expr, lanes: int) -> Expr:
    """Return x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3)))."""
    x = kept(x)
    cubic, linear = (splat("float32", c, lanes) for c in (GELU_CUBIC, GELU_LINEAR))
    inner = kept(tir.fma(kept(x * x), cubic, linear))
    half = kept(x * splat("float32", 0.5, lanes))
    return tir.fma(half, tanh(x * inner, lanes), half)


def polynomial(coefficients: Sequence[float], x: Expr, lanes: int) -> Expr:
    """Return the polynomial, its highest coefficient first, by Horner's rule."""
    total = splat("float32", coefficients[0], lanes)
    for coefficient in coefficients[1:]:
        total = tir.fma(total, x, splat("float32", coefficient, lanes))
    return kept(total)


def _reduced(x: Expr, lanes: int) -> tuple[Expr, Expr]:
    """Return e**r as float32 and n as int32 with x = r + n * ln 2, |r| <= ln(2) / 2."""
    power = kept(rounded(kept(x * splat("float32", LOG2_E, lanes)), lanes))
    number = kept(tir.cast(power, vector("float32", lanes)))
    r = tir.fma(number, splat("float32", -LN2_HIGH, lanes), x)
    r = kept(tir.fma(number, splat("float32", -LN2_LOW, lanes), r))
    square = kept(r * r)
    curved = kept(tir.fma(polynomial(EXP, r, lanes), square, r))
    return kept(curved + splat("float32", 1, lanes)), power


def _scaled(number: Expr, power: Expr, lanes: int) -> Expr:
    """Return number * 2**power, both normal float32."""
    bits = tir.reinterpret(vector("int32", lanes), number)
    shifted = bits + tir.shift_left(power, splat("int32", 23, lanes))
    return kept(tir.reinterpret(vector("float32", lanes), shifted))


def _magnitude(x: Expr, lanes: int) -> Expr:
    bits = tir.bitwise_and(
        tir.reinterpret(vector("int32", lanes), x), splat("int32", (1 << 31) - 1, lanes)
    )
    return tir.reinterpret(vector("float32", lanes), bits)


def _with_sign(size: Expr, x: Expr, lanes: int) -> Expr:
    """Return a number that is not negative with the sign of another one."""
    kind = vector("int32", lanes)
    sign = tir.bitwise_and(tir.reinterpret(kind, x), splat("int32", -(1 << 31), lanes))
    bits = tir.bitwise_or(tir.reinterpret(kind, kept(size)), sign)
    return tir.reinterpret(vector("float32", lanes), bits)


Function = Callable[[Expr, int], Expr]
"""From a float32 vector and its lanes to another one."""


def _cast(x: Expr, lanes: int) -> Expr:
    return tir.cast(x, vector("float32", lanes))


def _sqrt(x: Expr, lanes: int) -> Expr:
    return tir.sqrt(x)


def _neg(x: Expr, lanes: int) -> Expr:
    return -x


def _reciprocal(x: Expr, lanes: int) -> Expr:
    return splat("float32", 1, lanes) / x


def _relu(x: Expr, lanes: int) -> Expr:
    zero = splat("float32", 0, lanes)
    x = kept(x)
    return tir.Select(x < zero, zero, x)


FUNCTIONS: Mapping[str, Function] = {
    "Abs": lambda x, lanes: _magnitude(kept(x), lanes),
    "Cast": _cast,
    "Erf": erf,
    "Exp": exp,
    "Gelu": gelu,
    "GeluTanh": gelu_tanh,
    "Neg": _neg,
    "Reciprocal": _reciprocal,
    "Relu": _relu,
    "Sigmoid": sigmoid,
    "Sqrt": _sqrt,
    "Tanh": tanh,
}
"""By the name of the ONNX operator; GeluTanh is the Gelu of that approximation."""
