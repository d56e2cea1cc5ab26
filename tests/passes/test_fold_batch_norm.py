"""Graphs before and after FoldBatchNorm, and its arithmetic against float64."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from qcompile.passes.fold_batch_norm import FoldBatchNorm
from tests.graphs import assert_graph, graph

# f = scale / sqrt(variance + epsilon) = 8 / sqrt(15 + 1) = 2, then 3 / sqrt(8 + 1) = 1
STATISTICS = """float[2] g = {8.0, 3.0}, float[2] s = {0.5, 0.25}, float[2] m = {1.0, 2.0},
    float[2] v = {15.0, 8.0}"""
NORM = "BatchNormalization <epsilon: float = 1.0>"

CHANGES = {
    "Conv with a bias": (
        f"""g (float[1,1,4,4] x) => (float[1,2,4,4] y)
        <float[2,1,1,1] w = {{3.0, 5.0}}, float[2] b = {{4.0, 6.0}}, {STATISTICS}>
        {{ a = Conv (x, w, b)  y = {NORM} (a, g, s, m, v) }}""",
        """g (float[1,1,4,4] x) => (float[1,2,4,4] y)
        <float[2,1,1,1] w = {6.0, 5.0}, float[2] b = {6.5, 4.25}>
        { y = Conv (x, w, b) }""",
    ),
    "Conv without a bias": (
        f"""g (float[1,1,4] x) => (float[1,2,4] y)
        <float[2,1,1] w = {{3.0, 5.0}}, {STATISTICS}>
        {{ a = Conv (x, w)  b = {NORM} (a, g, s, m, v)  y = Relu (b) }}""",
        """g (float[1,1,4] x) => (float[1,2,4] y)
        <float[2,1,1] w = {6.0, 5.0}, float[2] b = {-1.5, -1.75}>
        { a = Conv (x, w, b)  y = Relu (a) }""",
    ),
    "ConvTranspose in two groups": (
        f"""g (float[1,4,4,4] x) => (float[1,2,4,4] y)
        <float[4,1,1,1] w = {{1.0, 2.0, 3.0, 4.0}}, {STATISTICS}>
        {{ a = ConvTranspose <group: int = 2> (x, w)  y = {NORM} (a, g, s, m, v) }}""",
        """g (float[1,4,4,4] x) => (float[1,2,4,4] y)
        <float[4,1,1,1] w = {2.0, 4.0, 3.0, 4.0}, float[2] b = {-1.5, -1.75}>
        { y = ConvTranspose <group: int = 2> (x, w, b) }""",
    ),
    "Gemm": (
        f"""g (float[3,1] x) => (float[3,2] y)
        <float[1,2] w = {{3.0, 5.0}}, float[1] b = {{2.0}}, {STATISTICS}>
        {{ a = Gemm (x, w, b)  y = {NORM} (a, g, s, m, v) }}""",
        """g (float[3,1] x) => (float[3,2] y)
        <float[1,2] w = {6.0, 5.0}, float[2] b = {2.5, 0.25}>
        { y = Gemm (x, w, b) }""",
    ),
    "MatMul": (
        f"""g (float[3,1] x) => (float[3,2] y) <float[1,2] w = {{3.0, 5.0}}, {STATISTICS}>
        {{ a = MatMul (x, w)  y = {NORM} (a, g, s, m, v) }}""",
        """g (float[3,1] x) => (float[3,2] y)
        <float[1,2] w = {6.0, 5.0}, float[2] b = {-1.5, -1.75}> { y = Gemm (x, w, b) }""",
    ),
    "Gemm with transB": (
        f"""g (float[3,1] x) => (float[3,2] y) <float[2,1] w = {{3.0, 5.0}}, {STATISTICS}>
        {{ a = Gemm <transB: int = 1> (x, w)  y = {NORM} (a, g, s, m, v) }}""",
        """g (float[3,1] x) => (float[3,2] y)
        <float[2,1] w = {6.0, 5.0}, float[2] b = {-1.5, -1.75}>
        { y = Gemm <transB: int = 1> (x, w, b) }""",
    ),
    "two convolutions of one weight": (
        f"""g (float[1,1,4] x) => (float[1,2,4] y)
        <float[2,1,1] w = {{3.0, 5.0}}, {STATISTICS}>
        {{ a = Conv (x, w)  b = {NORM} (a, g, s, m, v)  c = Conv (x, w)  y = Add (b, c) }}""",
        """g (float[1,1,4] x) => (float[1,2,4] y) <float[2,1,1] w = {3.0, 5.0},
         float[2,1,1] u = {6.0, 5.0}, float[2] b = {-1.5, -1.75}>
        { a = Conv (x, u, b)  c = Conv (x, w)  y = Add (a, c) }""",
    ),
    "alone": (
        f"""g (float[1,2,4,4] x) => (float[1,2,4,4] y) <float[1,2,4,4] a, {STATISTICS}>
        {{ a = Relu (x)  y = {NORM} (a, g, s, m, v) }}""",
        """g (float[1,2,4,4] x) => (float[1,2,4,4] y)
        <float[2,1,1,1] w = {2.0, 1.0}, float[2] b = {-1.5, -1.75}>
        { a = Relu (x)
          y = Conv <kernel_shape: ints = [1,1], strides: ints = [1,1], pads: ints = [0,0,0,0],
                    dilations: ints = [1,1], group: int = 2> (a, w, b) }""",
    ),
    "after a convolution with a second user": (
        f"""g (float[1,1,4,4] x) => (float[1,2,4,4] y, float[1,2,4,4] z)
        <float[1,2,4,4] a, float[2,1,1,1] k = {{3.0, 4.0}}, {STATISTICS}>
        {{ a = Conv (x, k)  z = Relu (a)  y = {NORM} (a, g, s, m, v) }}""",
        """g (float[1,1,4,4] x) => (float[1,2,4,4] y, float[1,2,4,4] z)
        <float[2,1,1,1] k = {3.0, 4.0}, float[2,1,1,1] w = {2.0, 1.0},
         float[2] b = {-1.5, -1.75}>
        { a = Conv (x, k)  z = Relu (a)
          y = Conv <kernel_shape: ints = [1,1], strides: ints = [1,1], pads: ints = [0,0,0,0],
                    dilations: ints = [1,1], group: int = 2> (a, w, b) }""",
    ),
    "inside a branch": (
        f"""g (bool c, float[1,1,4] x) => (float[1,2,4] y)
        <float[2,1,1] w = {{3.0, 5.0}}, {STATISTICS}>
        {{ y = If (c) <
            then_branch: graph = t () => (float[1,2,4] p)
              {{ a = Conv (x, w)  p = {NORM} (a, g, s, m, v) }},
            else_branch: graph = e () => (float[1,2,4] q) {{ q = Conv (x, w) }}> }}""",
        """g (bool c, float[1,1,4] x) => (float[1,2,4] y) <float[2,1,1] w = {3.0, 5.0}>
        { y = If (c) <
            then_branch: graph = t () => (float[1,2,4] p)
              <float[2,1,1] u = {6.0, 5.0}, float[2] b = {-1.5, -1.75}> { p = Conv (x, u, b) },
            else_branch: graph = e () => (float[1,2,4] q) { q = Conv (x, w) }> }""",
    ),
}

KEPT = {
    "a second user": f"""g (float[1,1,4] x) => (float[1,2,4] y, float[1,2,4] z)
        <float[2,1,1] w = {{3.0, 5.0}}, {STATISTICS}>
        {{ a = Conv (x, w)  y = {NORM} (a, g, s, m, v)  z = Relu (a) }}""",
    "the convolution is a graph output": f"""g (float[1,1,4] x) => (float[1,2,4] y,
        float[1,2,4] a) <float[2,1,1] w = {{3.0, 5.0}}, {STATISTICS}>
        {{ a = Conv (x, w)  y = {NORM} (a, g, s, m, v) }}""",
    "the convolution stands outside the branch": f"""g (bool c, float[1,1,4] x)
        => (float[1,2,4] y) <float[2,1,1] w = {{3.0, 5.0}}, {STATISTICS}>
        {{ a = Conv (x, w)
          y = If (c) <
            then_branch: graph = t () => (float[1,2,4] p) {{ p = {NORM} (a, g, s, m, v) }},
            else_branch: graph = e () => (float[1,2,4] q) {{ q = Conv (x, w) }}> }}""",
    "weight is also an input": f"""g (float[1,1,4] x, float[2,1,1] w) => (float[1,2,4] y)
        <float[2,1,1] w = {{3.0, 5.0}}, {STATISTICS}>
        {{ a = Conv (x, w)  y = {NORM} (a, g, s, m, v) }}""",
    "variance is an input": """g (float[1,1,4] x, float[2] v) => (float[1,2,4] y)
        <float[2,1,1] w = {3.0, 5.0}, float[2] g = {8.0, 3.0}, float[2] s = {0.5, 0.25},
         float[2] m = {1.0, 2.0}>
        { a = Conv (x, w)  y = BatchNormalization (a, g, s, m, v) }""",
    "no finite factor": """g (float[1,1,4] x) => (float[1,1,4] y)
        <float[1,1,1] w = {3.0}, float[1] g = {8.0}, float[1] s = {0.5}, float[1] m = {1.0},
         float[1] v = {-1.0}>
        { a = Conv (x, w)  y = BatchNormalization (a, g, s, m, v) }""",
    "Gemm with beta": f"""g (float[3,1] x) => (float[3,2] y)
        <float[1,2] w = {{3.0, 5.0}}, float[2] b = {{2.0, 2.0}}, {STATISTICS}>
        {{ a = Gemm <beta: float = 0.5> (x, w, b)  y = {NORM} (a, g, s, m, v) }}""",
    "MatMul of rank 3": f"""g (float[3,2,1] x) => (float[3,2,2] y)
        <float[1,2] w = {{3.0, 5.0}}, {STATISTICS}>
        {{ a = MatMul (x, w)  y = {NORM} (a, g, s, m, v) }}""",
    "training mode": f"""g (float[1,2,4] x) => (float[1,2,4] y, float[2] p, float[2] q)
        <{STATISTICS}>
        {{ y, p, q = BatchNormalization <training_mode: int = 1> (x, g, s, m, v) }}""",
}


@pytest.mark.parametrize(("before", "after"), CHANGES.values(), ids=CHANGES)
def test_folds(before: str, after: str) -> None:
    result = FoldBatchNorm()(graph(before))
    assert result.modified
    assert_graph(result.model, after)
    assert not FoldBatchNorm()(result.model).modified


@pytest.mark.parametrize("before", KEPT.values(), ids=KEPT)
def test_keeps(before: str) -> None:
    result = FoldBatchNorm()(graph(before))
    assert not result.modified
    assert_graph(result.model, before)


def build(op_type: str, arrays: dict[str, npt.NDArray[np.float32]], group: int) -> ir.Model:
    names = {"w", "b", "gamma", "beta", "mean", "variance"}
    conv = helper.make_node(op_type, ["x", "w", "b"], ["a"], group=group)
    norm = helper.make_node(
        "BatchNormalization", ["a", "gamma", "beta", "mean", "variance"], ["y"]
    )
    value = onnx.helper.make_tensor_value_info
    body = helper.make_graph(
        [conv, norm],
        "g",
        [value("x", onnx.TensorProto.FLOAT, arrays["x"].shape)],
        [value("y", onnx.TensorProto.FLOAT, [None] * 4)],
        [numpy_helper.from_array(arrays[name], name) for name in sorted(names)],
    )
    opset = [helper.make_opsetid("", 21)]
    return ir.from_proto(helper.make_model(body, opset_imports=opset, ir_version=10))


def run(model: ir.Model, x: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString())
    (y,) = session.run(None, {"x": x})
    return np.asarray(y, np.float64)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("op_type", ["Conv", "ConvTranspose"])
@pytest.mark.parametrize("group", [1, 2])
def test_arithmetic(op_type: str, group: int, seed: int) -> None:
    """Compare with a 1x1 convolution in float64, before and after.

    Forward error of a dot product of K terms plus bias and normalization, every order of
    summation (Higham): at most K + 8 roundings of u = 2**-24, each of at most the sum of the
    magnitudes; folding adds one rounding a weight, which the 8 include.
    """
    noise = np.random.default_rng(seed)
    channels = 8
    per_group = channels // group
    arrays = {
        "x": noise.normal(size=(1, channels, 3, 3)),
        "w": noise.normal(size=(channels, per_group, 1, 1)),
        "b": noise.normal(size=channels),
        "gamma": noise.normal(size=channels),
        "beta": noise.normal(size=channels),
        "mean": noise.normal(size=channels),
        "variance": noise.uniform(1e-3, 4, size=channels),
    }
    stored = {name: array.astype(np.float32) for name, array in arrays.items()}
    exact = {name: array.astype(np.float64) for name, array in stored.items()}
    grouped = exact["w"].reshape(group, per_group, per_group)
    spec = "gio" if op_type == "ConvTranspose" else "goi"
    x = exact["x"].reshape(group, per_group, 9)

    def product(
        w: npt.NDArray[np.float64], x: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        return np.asarray(np.einsum(f"{spec},gip->gop", w, x)).reshape(channels, 9)

    factor = exact["gamma"] / np.sqrt(exact["variance"] + float(np.float32(1e-5)))
    shift = exact["beta"] + (exact["b"] - exact["mean"]) * factor
    expected = product(grouped, x) * factor[:, None] + shift[:, None]
    magnitude = product(np.abs(grouped), np.abs(x)) + np.abs(exact["b"])[:, None]
    magnitude = (magnitude + np.abs(exact["mean"])[:, None]) * np.abs(factor)[:, None]
    bound = (per_group + 8) * 2.0**-24 * (magnitude + np.abs(exact["beta"])[:, None])

    model = build(op_type, stored, group)
    before = run(model, stored["x"]).reshape(channels, 9)
    result = FoldBatchNorm()(model)
    assert [node.op_type for node in result.model.graph] == [op_type]
    after = run(result.model, stored["x"]).reshape(channels, 9)
    assert (np.abs(before - expected) <= bound).all()
    assert (np.abs(after - expected) <= bound).all()
