"""QDQ models as different tools write them: each agrees with onnxruntime on the same file.

The bound is one step of the output's scale an operator with a step of its own behind it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

from tests.foreign_models import Array, Foreign, imported, kinds, run_onnxruntime, run_oracle
from tests.passes.test_foreign_qdq import SHAPE, Samples, image, small_network

U8, S8 = QuantType.QUInt8, QuantType.QInt8
QUANTIZERS: Mapping[str, Mapping[str, Any]] = {
    "u8 u8": {"activation_type": U8, "weight_type": U8},
    "u8 s8": {"activation_type": U8, "weight_type": S8},
    "s8 s8 per channel": {"activation_type": S8, "weight_type": S8, "per_channel": True},
    "u8 s8 reduced": {
        "activation_type": U8,
        "weight_type": S8,
        "per_channel": True,
        "reduce_range": True,
    },
    "symmetric activations": {
        "activation_type": S8,
        "weight_type": S8,
        "extra_options": {"ActivationSymmetric": True},
    },
    "contrib ops": {
        "activation_type": U8,
        "weight_type": S8,
        "extra_options": {"UseQDQContribOps": True},
    },
    "QOperator": {
        "activation_type": U8,
        "weight_type": S8,
        "per_channel": True,
        "quant_format": QuantFormat.QOperator,
    },
}
ASYMMETRIC = frozenset({"u8 u8"})
"""Weights around any zero point: int8 around 0 does not hold them, and they stay float."""


@pytest.mark.parametrize("name", QUANTIZERS)
def test_onnxruntime_quantizer(name: str, tmp_path: Path) -> None:
    onnx.save(small_network(np.random.default_rng(0)), tmp_path / "float.onnx")
    options = {"quant_format": QuantFormat.QDQ, **QUANTIZERS[name]}
    quantize_static(tmp_path / "float.onnx", tmp_path / "q.onnx", Samples(), **options)
    proto = onnx.load(tmp_path / "q.onnx")
    model = imported(proto)
    found = kinds(model)
    weighted = {"QConv": 3, "QMatMul": 1}
    if name in ASYMMETRIC:
        assert not set(found) & set(weighted)
    else:
        assert {kind: found.get(kind) for kind in weighted} == weighted
    rng = np.random.default_rng(8)
    assert image(rng).shape == SHAPE
    wanted, given = [], []
    for x in (image(rng) for _ in range(10)):
        wanted.append(run_onnxruntime(proto, x))
        given.append(run_oracle(model, x))
    step = smallest_step(np.array(wanted))
    apart = np.abs(np.array(wanted) - np.array(given)) / step
    # Six operators in a row; a tie on the way moves one activation of thousands by one step.
    assert apart.max() <= 1.001
    assert apart.mean() <= 0.05


def smallest_step(answers: Array) -> float:
    """Return the scale of answers that lie on a grid, from the answers."""
    values = np.unique(answers)
    assert len(values) > 50
    return float(np.diff(values).min())


def pair(form: Foreign, x: str, grid: list[str], **attributes: int) -> str:
    """Send a value through Q and DQ."""
    q = form.node("QuantizeLinear", [x, *grid], **attributes)
    return form.node("DequantizeLinear", [q, *grid], **attributes)


def fake_quantize(
    op_type: str, w: Array, axis: int, x: Array, **attributes: Any
) -> onnx.ModelProto:
    """Return what FakeQuantize nodes of a training tool are exported as.

    Everything is float between pairs, the weights too, with one scale a channel.
    """
    form = Foreign(x.shape)
    others = tuple(each for each in range(w.ndim) if each != axis)
    scale = np.abs(w).max(axis=others) / 127
    w_name = pair(form, form.constant(w), form.grid(scale, 0, "i1"), axis=axis)
    y = form.node(op_type, [pair(form, "x", form.grid(0.03, 3, "i1")), w_name], **attributes)
    return form.model(pair(form, y, form.grid(0.1, -20, "i1")))


FAKE = {
    "Conv": ("Conv", (6, 4, 3, 3), 0, (1, 4, 7, 7), {"pads": [1, 1, 1, 1]}),
    "depthwise": ("Conv", (4, 1, 3, 3), 0, (1, 4, 7, 7), {"group": 4}),
    "MatMul": ("MatMul", (8, 6), 1, (3, 8), {}),
    "Gemm": ("Gemm", (8, 6), 1, (3, 8), {}),
    "Gemm transposed": ("Gemm", (6, 8), 0, (3, 8), {"transB": 1}),
    "ConvTranspose": ("ConvTranspose", (4, 6, 2, 2), 1, (1, 4, 5, 5), {"strides": [2, 2]}),
}


@pytest.mark.parametrize("case", FAKE.values(), ids=list(FAKE))
def test_float_weights_behind_a_pair(case: tuple[Any, ...]) -> None:
    op_type, w_shape, axis, x_shape, attributes = case
    rng = np.random.default_rng(2)
    x = rng.normal(0, 1.5, x_shape).astype("f4")
    w = rng.normal(0, 0.3, w_shape).astype("f4")
    proto = fake_quantize(op_type, w, axis, x, **attributes)
    model = imported(proto)
    assert set(kinds(model)) & {"QConv", "QMatMul"} or op_type == "ConvTranspose"
    expected, actual = run_onnxruntime(proto, x), run_oracle(model, x)
    assert np.abs(expected - actual).max() <= 0.1 * 1.001  # one step


def test_power_of_two_scales() -> None:
    """All scales are powers of two: the multiplier is one too, and float32 is exact."""
    form, rng = Foreign((1, 4, 7, 7)), np.random.default_rng(4)
    x = pair(form, "x", form.grid(2.0**-5, 0, "i1"))
    w = form.constant(rng.integers(-128, 128, (6, 4, 3, 3)).astype("i1"))
    w = form.node("DequantizeLinear", [w, *form.grid(2.0**-7, 0, "i1")])
    b = form.constant(rng.integers(-900, 900, 6).astype("i4"))
    b = form.node("DequantizeLinear", [b, *form.grid(2.0**-12, 0, "i4")])
    y = form.node("Relu", [form.node("Conv", [x, w, b])])
    proto = form.model(pair(form, y, form.grid(2.0**-3, 0, "i1")))
    model = imported(proto)
    assert kinds(model) == {"QConv": 1}
    x_values = rng.normal(0, 1.5, (1, 4, 7, 7)).astype("f4")
    np.testing.assert_array_equal(
        run_oracle(model, x_values), run_onnxruntime(proto, x_values)
    )
