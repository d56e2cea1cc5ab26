"""Where a Resize or a Pad reads, against onnxruntime on integers: exactly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from qcompile.graphs.index_maps import PAD_MODES
from qcompile.graphs.resize_map import (
    CROP,
    ROUNDINGS,
    TRANSFORMATIONS,
    WEIGHT_BITS,
    ResizedAxis,
    nearest_indices,
    resized_axes,
    transformed,
    why_not_mapped,
)
from qcompile.oracle import run_node
from tests.graphs import graph

Array = npt.NDArray[Any]
EXAMPLES = settings(max_examples=100, deadline=None)


def onnxruntime_answer(node: onnx.NodeProto, inputs: Mapping[str, Array]) -> Array:
    make = onnx.helper.np_dtype_to_tensor_dtype
    infos = [
        onnx.helper.make_tensor_value_info(name, make(array.dtype), array.shape)
        for name, array in inputs.items()
    ]
    proto = onnx.helper.make_graph([node], "one", infos, [onnx.ValueInfoProto(name="y")])
    opset = [onnx.helper.make_opsetid("", 19)]
    model = onnx.helper.make_model(proto, opset_imports=opset, ir_version=9)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return np.asarray(session.run(None, dict(inputs))[0])


@st.composite
def resizes(
    draw: st.DrawFn, *, mode: str = "nearest"
) -> tuple[onnx.NodeProto, dict[str, Array]]:
    """Draw a Resize and its inputs; x counts up."""
    least = 1 if mode == "nearest" else 2
    shape = draw(st.lists(st.integers(1, 9), min_size=least, max_size=4))
    axes = list(range(len(shape)))
    attributes: dict[str, Any] = {
        "mode": mode,
        "coordinate_transformation_mode": draw(st.sampled_from(list(TRANSFORMATIONS))),
        "nearest_mode": draw(st.sampled_from(list(ROUNDINGS))),
    }
    if mode == "linear":
        axes = axes[-2:]
        attributes["axes"] = axes
    elif draw(st.booleans()):
        axes = draw(st.permutations(axes))[: draw(st.integers(1, len(axes)))]
        attributes["axes"] = axes
    x = np.arange(np.prod(shape), dtype=np.float32 if mode == "linear" else np.int8)
    inputs: dict[str, Array] = {"x": x.reshape(shape)}
    if attributes["coordinate_transformation_mode"] == CROP:
        starts = [draw(st.floats(0, 0.5, width=32)) for _ in axes]
        ends = [start + draw(st.floats(0, 0.5, width=32)) for start in starts]
        inputs["roi"] = np.array(starts + ends, np.float32)
    if draw(st.booleans()):
        plain = st.sampled_from([1, 2, 3, 4, 0.5])
        factors = [draw(plain | st.floats(0.25, 4, width=32)) for _ in axes]
        inputs["scales"] = np.array(factors, np.float32)
        dims = np.array([shape[axis] for axis in axes], np.float32)
        assume((np.floor(inputs["scales"] * dims) >= 1).all())
    else:
        inputs["sizes"] = np.array([draw(st.integers(1, 20)) for _ in axes], np.int64)
        policies = ["stretch", "not_larger", "not_smaller"]
        if mode == "nearest":
            attributes["keep_aspect_ratio_policy"] = draw(st.sampled_from(policies))
    names = [name if name in inputs else "" for name in ("x", "roi", "scales", "sizes")]
    return onnx.helper.make_node("Resize", names, ["y"], **attributes), inputs


def axes_of(node: onnx.NodeProto, inputs: Mapping[str, Array]) -> tuple[ResizedAxis, ...]:
    told = [inputs.get(name) for name in ("roi", "scales", "sizes")]
    return resized_axes(ir.serde.deserialize_node(node), inputs["x"].shape, *told)


@EXAMPLES
@given(resizes())
def test_nearest(case: tuple[onnx.NodeProto, dict[str, Array]]) -> None:
    node, inputs = case
    axes = axes_of(node, inputs)
    # onnxruntime copies where the sizes agree, though the scale may say otherwise.
    assume(any(axis.size != axis.count for axis in axes))
    assume(all(axis.count > 0 for axis in axes))
    maps = nearest_indices(ir.serde.deserialize_node(node), axes)
    assume(maps is not None)
    assert maps is not None
    expected = onnxruntime_answer(node, inputs)
    np.testing.assert_array_equal(inputs["x"][np.ix_(*maps)], expected)
    arrays = [inputs.get(name) for name in ("x", "roi", "scales", "sizes")]
    (oracle,) = run_node(ir.serde.deserialize_node(node), arrays)
    np.testing.assert_array_equal(oracle, expected)


@EXAMPLES
@given(resizes(mode="linear"))
def test_linear(case: tuple[onnx.NodeProto, dict[str, Array]]) -> None:
    """Each axis errs by half of a weight's step: 2**-12 of two neighbours' difference."""
    node, inputs = case
    axes = axes_of(node, inputs)
    assume(any(axis.size != axis.count for axis in axes))
    positions = transformed(ir.serde.deserialize_node(node), axes)
    assume(positions is not None)
    assert positions is not None
    answer = inputs["x"].astype(np.float64)
    for at in (-2, -1):
        index, weight = axes[at].linear(positions[at])
        assert (weight.sum(axis=1) == 1 << WEIGHT_BITS).all()
        assert (weight >= 0).all()
        moved = np.moveaxis(answer, at, -1)
        moved = (moved[..., index] * weight / (1 << WEIGHT_BITS)).sum(-1)
        answer = np.moveaxis(moved, -1, at)
    *_, h, w = inputs["x"].shape
    steps = np.float64(w if h > 1 else 0) + 1  # neighbours differ by a line and by a pixel
    rounding = 4 * np.finfo(np.float32).eps * inputs["x"].size
    expected = onnxruntime_answer(node, inputs)
    assert np.abs(answer - expected).max() <= steps * 2.0 ** -(WEIGHT_BITS + 1) + rounding


@EXAMPLES
@given(
    st.lists(
        st.tuples(st.integers(1, 6), st.integers(-3, 6), st.integers(-3, 6)),
        min_size=1,
        max_size=3,
    ),
    st.sampled_from([*PAD_MODES, "constant"]),
    st.data(),
)
def test_pads(sizes: list[tuple[int, int, int]], mode: str, data: st.DataObject) -> None:
    """What remains of an axis after a negative pad is what the others repeat."""
    shape, begins, ends = zip(*sizes, strict=True)
    left = [
        size + min(0, begin) + min(0, end)
        for size, begin, end in zip(shape, begins, ends, strict=True)
    ]
    assume(min(left) > 0)
    if mode == "reflect":  # onnxruntime reflects once
        assume(all(max(pair[1:]) < rest for pair, rest in zip(sizes, left, strict=True)))
    axes = data.draw(st.permutations(range(len(shape))))
    inputs: dict[str, Array] = {
        "x": np.arange(np.prod(shape), dtype=np.uint8).reshape(shape),
        "pads": np.array([[pads[a] for a in axes] for pads in (begins, ends)]).reshape(-1),
        "value": np.array(77, np.uint8),
        "axes": np.array(axes, np.int64),
    }
    node = onnx.helper.make_node("Pad", list(inputs), ["y"], mode=mode)
    (oracle,) = run_node(ir.serde.deserialize_node(node), list(inputs.values()))
    np.testing.assert_array_equal(oracle, onnxruntime_answer(node, inputs))


REFUSED = {
    'Resize <mode = "cubic"> (x, , s)': "mode is cubic, the kernels take nearest and linear",
    'Resize <mode = "linear", antialias = 1> (x, , s)': "it asks for antialiasing",
    'Resize <mode = "nearest"> (x, , r)': "its sizes are known only at run time",
    'Resize <mode = "linear"> (x, , c)': "it interpolates along other axes than the last two",
    'Resize <coordinate_transformation_mode = "tf_crop_and_resize"> (x, roi, s)': (
        "it extrapolates beyond the image"
    ),
}


@pytest.mark.parametrize(("text", "reason"), REFUSED.items(), ids=REFUSED.values())
def test_what_stays_float(text: str, reason: str) -> None:
    model = graph(f"""g (float[1,2,3,4] x, float[4] r) => (float[1,2,6,8] y)
        <float[4] s = {{1., 1., 2., 2.}}, float[4] c = {{1., 2., 2., 1.}},
         float[8] roi = {{0., 0., 0., 0., 1., 1., 2., 1.}}>
        {{ y = {text} }}""")
    assert why_not_mapped(model.graph[0]) == reason
