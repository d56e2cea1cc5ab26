"""Functions of float32 vectors against float64, and the same bits everywhere."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from qcompile.targets.kernels.float_elementwise import FloatFunction
from qcompile.targets.kernels.view import View
from tests.targets.buffers import LANES, Array, run

F64 = npt.NDArray[np.float64]
Case = tuple[Callable[[F64], F64], float, float, float]


def erf(x: F64) -> F64:
    return np.array([math.erf(number) for number in x])


def gelu_tanh(x: F64) -> F64:
    return np.asarray(0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))))


ENDS = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0], np.float32)


def numbers(low: float, high: float, count: int = 40_003) -> Array:
    """Return numbers of a range, and as many around 0 of every magnitude."""
    rng = np.random.default_rng(0)
    small = rng.choice([-1, 1], count) * np.exp2(rng.uniform(-40, 0, count))
    even = np.linspace(low, high, count)
    return np.concatenate([even, np.clip(small, low, high)]).astype(np.float32)


def computed(function: str, x: Array, lanes: int) -> Array:
    view = View.plain(x.shape)
    template = FloatFunction(x=view, y=view, function=function, lanes=lanes)
    return run(template, [x], view.layout, "float32")


def units(got: Array, exact: F64) -> float:
    """Return the greatest error in units of the exact answer's last place."""
    unit = np.spacing(np.abs(exact).astype(np.float32)).astype(np.float64)
    return float((np.abs(got.astype(np.float64) - exact) / unit).max())


RELATIVE: dict[str, Case] = {
    "Exp": (np.exp, -87, 88.7, 1.1),  # the polynomial's 0.1 and two roundings
    "Erf": (erf, -6, 6, 1.1),  # fitted to less than 1 each side of the split
    "Tanh": (np.tanh, -12, 12, 2.5),  # 1 - 2 / (1 + e): four roundings, halved by the sizes
    "Sigmoid": (
        lambda x: np.asarray(1 / (1 + np.exp(-x))),
        -86,
        86,
        3.0,
    ),  # exp, a sum, a quotient
    "Sqrt": (np.sqrt, 0, 1e9, 0.5001),  # as IEEE says
    "Reciprocal": (np.reciprocal, 1e-9, 1e9, 0.5001),
}
"""Function, range, and the bound in units of the last place."""

ABSOLUTE: dict[str, Case] = {
    "Gelu": (lambda x: np.asarray(x / 2 * (1 + erf(x / math.sqrt(2)))), -12, 12, 2.0**-23),
    "GeluTanh": (gelu_tanh, -12, 12, 2.0**-22),
}
"""Far on the left 1 + erf cancels: an error of a unit of 1 stays, times |x| / 2."""


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("function", RELATIVE)
def test_within_units_of_the_last_place(function: str, lanes: int) -> None:
    exact, low, high, bound = RELATIVE[function]
    x = numbers(low, high)
    got = computed(function, x, lanes)
    assert units(got, exact(x.astype(np.float64))) <= bound


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("function", ABSOLUTE)
def test_within_a_share_of_the_argument(function: str, lanes: int) -> None:
    exact, low, high, bound = ABSOLUTE[function]
    x = numbers(low, high)
    wide = x.astype(np.float64)
    error = np.abs(computed(function, x, lanes).astype(np.float64) - exact(wide))
    assert (error <= bound * np.abs(wide)).all()


@pytest.mark.parametrize("function", [*RELATIVE, *ABSOLUTE])
def test_one_answer_on_every_instruction_set(function: str) -> None:
    x = np.concatenate([numbers(0 if function == "Sqrt" else -100, 100, 5001), ENDS])
    first, *others = (computed(function, x, lanes) for lanes in LANES)
    for other in others:
        np.testing.assert_array_equal(other, first)


@pytest.mark.parametrize("lanes", LANES)
def test_ends(lanes: int) -> None:
    answers = {
        "Exp": [np.inf, 0, np.nan, 1, 1],
        "Erf": [1, -1, np.nan, 0, 0],
        "Tanh": [1, -1, np.nan, 0, 0],
        "Sigmoid": [1, np.exp(-87), np.nan, 0.5, 0.5],
        "Relu": [np.inf, 0, np.nan, 0, 0],
        "Abs": [np.inf, np.inf, np.nan, 0, 0],
        "Neg": [-np.inf, np.inf, np.nan, 0, 0],
    }
    for function, expected in answers.items():
        got = computed(function, ENDS, lanes)
        np.testing.assert_allclose(got, np.array(expected), rtol=1e-6, err_msg=function)


@pytest.mark.parametrize("lanes", LANES)
def test_exp_of_what_leaves_the_normal_numbers(lanes: int) -> None:
    x = np.linspace(-110, -87, 5000).astype(np.float32)
    error = np.abs(computed("Exp", x, lanes).astype(np.float64) - np.exp(x.astype(np.float64)))
    assert error.max() <= 2.0**-149  # two roundings of a denormal number
    assert np.isinf(computed("Exp", np.array([88.73, 1e30], np.float32), lanes)).all()


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("dtype", ["bool", "int32", "int64"])
def test_cast(dtype: str, lanes: int) -> None:
    x = np.random.default_rng(1).integers(-(2**30), 2**30, 133).astype(dtype)
    view = View.plain(x.shape)
    template = FloatFunction(x=view, y=view, function="Cast", dtype=dtype, lanes=lanes)
    got = run(template, [x], view.layout, "float32")
    np.testing.assert_array_equal(got, x.astype(np.float32))
