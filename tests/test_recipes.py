"""The recipe "auto": which one is taken, by the model's operators or by a trial."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
import onnx.shape_inference
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from qcompile.compiler import compile_model, quantize_model
from qcompile.config import CompileConfig
from qcompile.data.dataset import input_specs, load_data
from qcompile.recipes import (
    Candidate,
    Sample,
    answers,
    candidates,
    choose,
    matrix_share,
    name_of,
    sqnr_db,
    stated,
    trial_samples,
)
from tests.graphs import graph

TRIED = tuple(Candidate(name, CompileConfig()) for name in ("static", "smooth", "dynamic"))

CHOICES = {
    "enough at once": ((31.0,), "static"),
    "enough with smoothing": ((21.0, 25.0), "smooth"),
    "within the margin of the best": ((21.0, 23.0, 24.0), "static"),
    "beyond the margin": ((20.0, 23.0, 24.0), "smooth"),
    "below the least": ((19.0, 20.0, 21.0), "smooth"),
    "all below the least": ((16.0, 17.0, 18.5), "static"),
    "far apart": ((8.0, 14.0, 24.0), "dynamic"),
    "nothing is right": ((-200.0, -200.0, -200.0), "static"),
}


@pytest.mark.parametrize(("figures", "name"), CHOICES.values(), ids=CHOICES)
def test_choose(figures: tuple[float, ...], name: str) -> None:
    sqnr = dict(zip(("static", "smooth", "dynamic"), figures, strict=False))
    choice = choose(0.75, TRIED, lambda candidate: sqnr[candidate.name])
    assert choice.report["name"] == name
    assert choice.report["sqnr_db"] == sqnr  # what is not needed is not tried
    listed = ", ".join(f"{name} {value:.1f} dB" for name, value in sqnr.items())
    assert choice.report["reason"].startswith("75% of the MACs are matrix products, and it ")
    assert choice.report["reason"].endswith(f"SQNR {listed}")


def test_matrix_share() -> None:
    model = graph(
        """g (float[1,2,4,4] x, float[32,4] v) => (float[1,4] y)
        <float[2,2,1,1] w = {1.0, 1.0, 1.0, 1.0}>
        { c = Conv <kernel_shape = [1, 1]> (x, w)  f = Flatten (c)  y = MatMul (f, v) }"""
    )
    sized = ir.from_proto(onnx.shape_inference.infer_shapes(ir.to_proto(model)))
    assert matrix_share(sized.graph) == pytest.approx(32 * 4 / (32 * 4 + 16 * 2 * 2))
    assert matrix_share(graph("g (float[1] x) => (float[1] y) { y = Relu (x) }").graph) == 0.0


def test_candidates() -> None:
    names = [each.name for each in candidates(CompileConfig())]
    assert names == ["static-int8", "static-int8 smooth=0.5", "dynamic-int8"]
    named = candidates(CompileConfig(smooth=0.75, float_ops=("Add",)))
    assert [each.name for each in named] == ["static-int8 smooth=0.75", "dynamic-int8"]
    assert all(each.config.float_ops == ("Add",) for each in named)
    assert name_of(stated(CompileConfig()).config) == "static-int8"


@pytest.mark.parametrize(("count", "sizes"), [(3, (3, 3)), (8, (6, 2)), (100, (24, 8))])
def test_trial_samples(count: int, sizes: tuple[int, int]) -> None:
    specs = input_specs(graph("g (float[1,2] x) => (float[1,2] y) { y = Relu (x) }"))
    data = load_data([{"x": np.full(2, at, np.float32)} for at in range(count)], specs)
    ranges, tests = trial_samples(data)
    assert (len(ranges), len(tests)) == sizes
    if count > 3:
        assert not {float(s["x"].max()) for s in ranges} & {float(s["x"].max()) for s in tests}


def test_sqnr_is_that_of_the_worst_output() -> None:
    wanted: list[Sample] = [{"a": np.ones(4, np.float32), "b": np.ones(4, np.float32)}]
    got: list[Sample] = [{"a": np.ones(4, np.float32), "b": np.full(4, 0.9, np.float32)}]
    assert sqnr_db(wanted, got) == pytest.approx(20.0, abs=1e-4)


def normed(width: int, outlier: float) -> onnx.ModelProto:
    """Return two linear layers after normalizations, channel 3 of which is much wider."""
    noise = np.random.default_rng(0)
    gamma = np.ones(width, np.float32)
    gamma[3] = outlier
    arrays = {"gamma": gamma}
    nodes, value = [], "x"
    for at in range(2):
        arrays[f"w{at}"] = (noise.normal(size=(width, width)) / width).astype(np.float32)
        arrays[f"w{at}"][3] /= outlier
        nodes += [
            helper.make_node("LayerNormalization", [value, "gamma"], [f"n{at}"], f"n{at}"),
            helper.make_node("MatMul", [f"n{at}", f"w{at}"], [f"m{at}"], f"m{at}"),
        ]
        value = f"m{at}"
    return helper.make_model(
        helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("x", 1, [1, width])],
            [helper.make_tensor_value_info(value, 1, [1, width])],
            [numpy_helper.from_array(array, name) for name, array in arrays.items()],
        ),
        opset_imports=[helper.make_opsetid("", 21)],
        ir_version=10,
    )


def samples(width: int, count: int) -> list[dict[str, npt.NDArray[np.float32]]]:
    noise = np.random.default_rng(1)
    return [{"x": noise.normal(size=width).astype(np.float32)} for _ in range(count)]


def test_outliers_are_smoothed() -> None:
    model = compile_model(normed(32, 100.0), "native", calibration=iter(samples(32, 16)))
    recipe = model.report["recipe"]
    static, smooth = (recipe["sqnr_db"][name] for name in list(recipe["sqnr_db"])[:2])
    assert recipe["name"] == "static-int8 smooth=0.5"
    assert smooth > static + 10
    assert model.manifest["recipe"] == recipe
    assert model.report["ops"]["integer"] == 2


def test_without_outliers_it_is_static() -> None:
    model = compile_model(normed(32, 1.0), "native", calibration=samples(32, 16))
    assert model.report["recipe"]["name"] == "static-int8"
    assert list(model.report["recipe"]["sqnr_db"]) == ["static-int8"]


def test_smooth_is_the_same_function_and_quantized_better() -> None:
    data = samples(32, 16)
    specs = input_specs(ir.from_proto(normed(32, 100.0)))
    reference = answers(ir.from_proto(normed(32, 100.0)), load_data(data, specs))
    figures = []
    for smooth in (None, 0.5):
        config = CompileConfig(recipe="static-int8", smooth=smooth)
        model = quantize_model(normed(32, 100.0), "native", calibration=data, config=config)
        figures.append(sqnr_db(reference, answers(model, load_data(data, specs))))
    assert figures[1] > figures[0] + 10


def test_a_stated_recipe_is_not_tried() -> None:
    config = CompileConfig(recipe="static-int8")
    model = compile_model(
        normed(32, 100.0), "native", calibration=samples(32, 4), config=config
    )
    assert model.report["recipe"] == {
        "name": "static-int8",
        "reason": "the config names it",
        "sqnr_db": {},
    }
