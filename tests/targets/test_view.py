"""Views against NumPy: a view of memory is an array with strides."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from qcompile.targets.kernels.view import View
from tests.targets.buffers import Array, places
from tests.targets.strategies import shapes, views

MANY = settings(max_examples=200, deadline=None)


def seen(view: View) -> Array:
    """Return the places that a view names, in its own shape."""
    return places(np.arange(view.layout.size), view)


@st.composite
def turned(draw: st.DrawFn) -> View:
    view = draw(views(draw(shapes(least=1))))
    return view.transpose(draw(st.permutations(range(len(view.shape)))))


@st.composite
def regrouped(draw: st.DrawFn) -> tuple[View, tuple[int, ...]]:
    """Draw a view and another shape of as many elements."""
    view = draw(turned())
    factors = [p for size in view.shape for p in prime_factors(size)]
    if draw(st.booleans()):
        factors = draw(st.permutations(factors))
    shape = [1]
    for factor in factors:
        if draw(st.booleans()):
            shape.append(factor)
        else:
            shape[-1] *= factor
    return view, tuple(shape)


def prime_factors(number: int) -> list[int]:
    for factor in range(2, number):
        if number % factor == 0:
            return [factor, *prime_factors(number // factor)]
    return [number] if number > 1 else []


@MANY
@given(regrouped())
def test_reshape(case: tuple[View, tuple[int, ...]]) -> None:
    """None exactly where NumPy would have to copy."""
    view, shape = case
    numbers = seen(view)
    reshaped = numbers.reshape(shape)
    found = view.reshape(shape)
    assert (found is not None) == np.shares_memory(numbers, reshaped)
    if found is not None:
        assert found.shape == shape
        np.testing.assert_array_equal(seen(found), reshaped)


@MANY
@given(turned(), st.data())
def test_pick(view: View, data: st.DataObject) -> None:
    axis = data.draw(st.integers(0, len(view.shape) - 1))
    size = view.shape[axis]
    start, step = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size))
    count = data.draw(st.integers(1, (size - 1 - start) // step + 1 if step else 3))
    again = data.draw(st.integers(1, 3))
    picked = view.pick(axis, start, [(count, step), (again, 0)])
    index = start + step * np.arange(count)
    expected = np.repeat(np.take(seen(view), index, axis), again, axis)
    assert picked.shape == (*view.shape[:axis], count, again, *view.shape[axis + 1 :])
    np.testing.assert_array_equal(seen(picked).reshape(expected.shape), expected)
