"""What a run takes: every array that fits passes, and no other."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest

from qcompile.data.run_inputs import SMALL, check_inputs
from qcompile.errors import CompileError
from qcompile.tensors import Tensor

FLOATS = ["float16", "float32", "float64"]
SIZES = [1, 7, SMALL, SMALL + 1]


def check(array: object, dtype: str, shape: tuple[int, ...]) -> None:
    check_inputs([Tensor("x", np.dtype(dtype), shape)], {"x": array})


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", FLOATS)
def test_every_finite_number_passes(dtype: str, size: int) -> None:
    info = np.finfo(np.dtype(dtype))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number in (0, info.max, info.min, info.tiny, info.smallest_subnormal):
            check(np.full((1, size), number, dtype), dtype, (1, size))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_any_other_is_refused(number: float, dtype: str, size: int) -> None:
    info = np.finfo(np.dtype(dtype))
    for place in {0, size // 2, size - 1}:
        for rest in (0, info.max, info.min):
            x = np.full((1, size), rest, dtype)
            x[0, place] = number
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                with pytest.raises(CompileError, match=rf"{number} at \(0, {place}\)"):
                    check(x, dtype, (1, size))


def test_two_infinities_are_refused() -> None:
    x = np.array([np.inf, -np.inf], np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(CompileError, match="inf at"):
            check(x, "float32", (2,))


@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3)])
@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
def test_scalars_and_nothing(dtype: str, shape: tuple[int, ...]) -> None:
    check(np.zeros(shape, dtype), dtype, shape)


def test_an_array_with_gaps_passes() -> None:
    x = np.zeros((4, 6), np.float32)
    check(x[:, ::2], "float32", (4, 3))
    x[1, 2] = np.nan
    with pytest.raises(CompileError, match=r"nan at \(1, 1\)"):
        check(x[:, ::2], "float32", (4, 3))


@pytest.mark.filterwarnings("ignore:the matrix subclass")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "subclass", [np.asmatrix, lambda x: np.ma.array(x, mask=True)], ids=["matrix", "masked"]
)
def test_a_subclass_answers_for_its_data(subclass: Callable[..., object], size: int) -> None:
    x = np.ones((1, size), np.float32)
    check(subclass(x), "float32", (1, size))
    x[0, -1] = np.nan
    with pytest.raises(CompileError, match=rf"nan at \(0, {size - 1}\)"):
        check(subclass(x), "float32", (1, size))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        ([1.0, 2.0], "got list"),
        (None, "got NoneType"),
        (np.zeros(2), "got float64"),
        (np.zeros(2, ">f4"), "got >f4"),
        (np.zeros(3, np.float32), r"got shape \(3,\)"),
        (np.zeros((2, 1), np.float32), r"got shape \(2, 1\)"),
    ],
)
def test_another_array_is_refused(array: object, message: str) -> None:
    with pytest.raises(CompileError, match=message):
        check(array, "float32", (2,))


def test_names() -> None:
    tensors = [Tensor(name, np.dtype("float32"), (1,)) for name in ("left", "right")]
    x = np.zeros(1, np.float32)
    check_inputs(tensors, {"right": x, "left": x})
    with pytest.raises(CompileError, match="no array for input 'right'"):
        check_inputs(tensors, {"left": x})
    with pytest.raises(CompileError, match="did you mean 'right'"):
        check_inputs(tensors, {"left": x, "rihgt": x})
    with pytest.raises(CompileError, match="no input 'other'"):
        check_inputs(tensors, {"left": x, "right": x, "other": x})
