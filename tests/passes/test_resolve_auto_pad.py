"""Graphs before and after ResolveAutoPad, and onnxruntime's word on both."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnxruntime
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from qcompile.errors import CompileError
from qcompile.passes.resolve_auto_pad import ResolveAutoPad
from tests.graphs import assert_graph, graph

CHANGES = {
    "SAME_UPPER": (
        """g (float[1,1,5,6] x, float[2,1,2,3] w) => (float[1,2,3,3] y)
        { y = Conv <auto_pad: string = "SAME_UPPER", strides: ints = [2, 2]> (x, w) }""",
        """g (float[1,1,5,6] x, float[2,1,2,3] w) => (float[1,2,3,3] y)
        { y = Conv <kernel_shape: ints = [2,3], strides: ints = [2,2], pads: ints = [0,0,1,1],
                    dilations: ints = [1,1], group: int = 1> (x, w) }""",
    ),
    "SAME_LOWER": (
        """g (float[1,1,4,4] x) => (float[1,1,4,4] y)
        { y = MaxPool <auto_pad: string = "SAME_LOWER", kernel_shape: ints = [2,3]> (x) }""",
        """g (float[1,1,4,4] x) => (float[1,1,4,4] y)
        { y = MaxPool <kernel_shape: ints = [2,3], strides: ints = [1,1],
                       pads: ints = [1,1,0,1], dilations: ints = [1,1]> (x) }""",
    ),
    "VALID": (
        """g (float[1,1,4,4] x) => (float[1,1,3,3] y)
        { y = AveragePool <auto_pad: string = "VALID", kernel_shape: ints = [2,2]> (x) }""",
        """g (float[1,1,4,4] x) => (float[1,1,3,3] y)
        { y = AveragePool <kernel_shape: ints = [2,2], strides: ints = [1,1],
                           pads: ints = [0,0,0,0], dilations: ints = [1,1]> (x) }""",
    ),
    "defaults, a second user": (
        """g (float[1,1,4] x, float[1,1,3] w) => (float[1,1,2] y, float[1,1,2] z)
        { a = Conv (x, w)  y = Relu (a)  z = Neg (a) }""",
        """g (float[1,1,4] x, float[1,1,3] w) => (float[1,1,2] y, float[1,1,2] z)
        { a = Conv <kernel_shape: ints = [3], strides: ints = [1], pads: ints = [0,0],
                    dilations: ints = [1], group: int = 1> (x, w)
          y = Relu (a)  z = Neg (a) }""",
    ),
    "ceil_mode": (
        """g (float[1,1,6,5] x) => (float[1,1,3,2] y)
        { y = MaxPool <kernel_shape: ints = [3,3], strides: ints = [2,2],
                       ceil_mode: int = 1> (x) }""",
        """g (float[1,1,6,5] x) => (float[1,1,3,2] y)
        { y = MaxPool <kernel_shape: ints = [3,3], strides: ints = [2,2],
                       pads: ints = [0,0,1,0], dilations: ints = [1,1]> (x) }""",
    ),
    "ConvTranspose with an output_shape": (
        """g (float[1,1,3,3] x, float[1,1,3,3] w) => (float[1,1,6,6] y)
        { y = ConvTranspose <output_shape: ints = [6,6], strides: ints = [2,2]> (x, w) }""",
        """g (float[1,1,3,3] x, float[1,1,3,3] w) => (float[1,1,6,6] y)
        { y = ConvTranspose <kernel_shape: ints = [3,3], strides: ints = [2,2], group: int = 1,
                             pads: ints = [1,1,0,0], dilations: ints = [1,1]> (x, w) }""",
    ),
    "inside a branch, weight is also an input": (
        """g (bool c, float[1,1,4] x, float[1,1,3] w) => (float[1,1,4] y)
        <float[1,1,3] w = {1.0, 2.0, 3.0}>
        { y = If (c) <
            then_branch: graph = t () => (float[1,1,4] a)
              { a = Conv <auto_pad: string = "SAME_UPPER"> (x, w) },
            else_branch: graph = e () => (float[1,1,4] b) { b = Relu (x) }> }""",
        """g (bool c, float[1,1,4] x, float[1,1,3] w) => (float[1,1,4] y)
        <float[1,1,3] w = {1.0, 2.0, 3.0}>
        { y = If (c) <
            then_branch: graph = t () => (float[1,1,4] a)
              { a = Conv <kernel_shape: ints = [3], strides: ints = [1], pads: ints = [1,1],
                          dilations: ints = [1], group: int = 1> (x, w) },
            else_branch: graph = e () => (float[1,1,4] b) { b = Relu (x) }> }""",
    ),
}

KEPT = {
    "already in numbers": """g (float[1,1,4] x) => (float[1,1,2] y)
        { y = MaxPool <kernel_shape: ints = [3], strides: ints = [1], pads: ints = [0,0],
                       dilations: ints = [1]> (x) }""",
    "unknown size": """g (float[1,1,N] x) => (float[1,1,M] y)
        { y = MaxPool <kernel_shape: ints = [3], auto_pad: string = "SAME_UPPER"> (x) }""",
    "padding that counts": """g (float[1,1,6] x) => (float[1,1,3] y)
        { y = AveragePool <kernel_shape: ints = [3], strides: ints = [2], ceil_mode: int = 1,
                           count_include_pad: int = 1> (x) }""",
    "another operator": """g (float[1,1,4] x) => (float[1,1,1] y)
        { y = GlobalAveragePool (x) }""",
}


@pytest.mark.parametrize(("before", "after"), CHANGES.values(), ids=CHANGES)
def test_resolves(before: str, after: str) -> None:
    result = ResolveAutoPad()(graph(before))
    assert result.modified
    assert_graph(result.model, after)
    assert not ResolveAutoPad()(result.model).modified


@pytest.mark.parametrize("before", KEPT.values(), ids=KEPT)
def test_keeps(before: str) -> None:
    result = ResolveAutoPad()(graph(before))
    assert not result.modified
    assert_graph(result.model, before)


DISPUTED = {
    "kernel below stride": """g (float[1,1,6,6] x) => (float[1,1,4,4] y)
        { y = MaxPool <kernel_shape: ints = [1,1], strides: ints = [2,2],
                       ceil_mode: int = 1> (x) }""",
    "average": """g (float[1,1,6,6] x) => (float[1,1,4,4] y)
        { y = AveragePool <kernel_shape: ints = [1,1], strides: ints = [2,2],
                           ceil_mode: int = 1> (x) }""",
    "average that counts padding": """g (float[1,1,6,5] x) => (float[1,1,4,5] y)
        { y = AveragePool <kernel_shape: ints = [2,1], strides: ints = [2,1],
                           pads: ints = [0,0,1,0], ceil_mode: int = 1,
                           count_include_pad: int = 1> (x) }""",
    "padding at the end of one axis": """g (float[1,1,8,8] x) => (float[1,1,5,4] y)
        { y = MaxPool <kernel_shape: ints = [2,3], strides: ints = [2,3],
                       pads: ints = [1,0,0,2], ceil_mode: int = 1> (x) }""",
    "inside a branch": """g (bool c, float[1,1,6,6] x) => (float[1,1,4,4] y)
        { y = If (c) <
            then_branch: graph = t () => (float[1,1,4,4] a)
              { a = MaxPool <kernel_shape: ints = [1,1], strides: ints = [2,2],
                             ceil_mode: int = 1> (x) },
            else_branch: graph = e () => (float[1,1,4,4] b)
              { b = ConstantOfShape (s) }> }""",
}


@pytest.mark.parametrize("text", DISPUTED.values(), ids=DISPUTED)
def test_refuses_a_window_that_starts_in_the_padding(text: str) -> None:
    model = graph(text.replace("{ y = If", "<int64[4] s = {1,1,4,4}> { y = If"))
    with pytest.raises(CompileError, match=r"Pool\): runtimes disagree.*\n.*ceil_mode=0"):
        ResolveAutoPad()(model)


def run(model: ir.Model) -> npt.NDArray[np.float32]:
    noise = np.random.default_rng(0)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), options)
    inputs = {
        value.name: noise.normal(size=value.shape).astype(np.float32)
        for value in session.get_inputs()
    }
    (y,) = session.run(None, inputs)
    return np.asarray(y, np.float32)


PAIR = st.tuples(st.integers(1, 3), st.integers(1, 3))


@settings(max_examples=150, deadline=None)
@given(
    op_type=st.sampled_from(["Conv", "ConvTranspose", "MaxPool", "AveragePool"]),
    size=st.tuples(st.integers(3, 8), st.integers(3, 8)),
    kernel=PAIR,
    strides=PAIR,
    auto_pad=st.sampled_from(["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]),
    ceil_mode=st.booleans(),
)
def test_means_the_same_to_onnxruntime(
    op_type: str,
    size: tuple[int, int],
    kernel: tuple[int, int],
    strides: tuple[int, int],
    auto_pad: str,
    ceil_mode: bool,
) -> None:
    pool = op_type.endswith("Pool")
    wide = any(stride > taps for stride, taps in zip(strides, kernel, strict=True))
    assume(not (wide and auto_pad.startswith("SAME")))  # onnxruntime pads by less than nothing
    assume(not (pool and ceil_mode and auto_pad == "VALID"))  # kept: see the pass
    attributes = f"kernel_shape: ints = [{kernel[0]}, {kernel[1]}]"
    attributes += f", strides: ints = [{strides[0]}, {strides[1]}]"
    attributes += f', auto_pad: string = "{auto_pad}"'
    attributes += ", ceil_mode: int = 1" if pool and ceil_mode else ""
    weight = "" if pool else f", float[2,2,{kernel[0]},{kernel[1]}] w"
    model = graph(
        f"""g (float[1,2,{size[0]},{size[1]}] x{weight}) => (float[1,2,H,W] y)
        {{ y = {op_type} <{attributes}> ({"x" if pool else "x, w"}) }}"""
    )
    expected = run(model)
    resolved = ResolveAutoPad()(model).model
    assert resolved.graph[0].attributes.get_string("auto_pad") is None
    np.testing.assert_array_equal(run(resolved), expected)
