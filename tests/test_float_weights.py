"""Weight-only and dynamic forms: what they become at import agrees with the file itself.

Both sides run in onnxruntime: the file as it stands, and the imported model. The weights are
the same numbers, so what may differ is the order of a float32 sum: 2**-20 of the largest
answer, a few roundings of 2**-24.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto
from onnxruntime.quantization import QuantType, quantize_dynamic

import qcompile
from qcompile.importer.load_model import load_model
from tests.foreign_models import Array, Foreign, run_onnxruntime
from tests.passes.test_foreign_qdq import image, small_network

ROWS, IMAGE = (3, 64), (1, 4, 7, 7)
ROUNDINGS = 2.0**-20
RANDOM = np.random.default_rng(0)


def scales(*shape: int) -> Array:
    return RANDOM.uniform(0.002, 0.02, shape).astype("f4")


def bytes_of(*shape: int, dtype: str = "u1") -> Array:
    low, high = {"u1": (0, 256), "i1": (-127, 128)}[dtype]
    return RANDOM.integers(low, high, shape).astype(dtype)


def cast_and_scale() -> onnx.ModelProto:
    form = Foreign(ROWS)
    w = form.node("Cast", [form.constant(bytes_of(64, 6, dtype="i1"))], to=TensorProto.FLOAT)
    return form.model(
        form.node("MatMul", ["x", form.node("Mul", [w, form.constant(scales(6))])])
    )


def dequantized(
    shape: Sequence[int], axis: int, *, block: int = 0, bits: int = 8, signed: bool = True
) -> onnx.ModelProto:
    """Return a MatMul with one scale a channel, or one for each block of rows."""
    form = Foreign(ROWS)
    size = [shape[axis]]
    if block:
        size = list(shape)
        size[axis] = -(-shape[axis] // block)
    low, high = (-(1 << (bits - 1)), 1 << (bits - 1)) if signed else (0, 1 << bits)
    dtype = {
        (8, True): TensorProto.INT8,
        (8, False): TensorProto.UINT8,
        (4, True): TensorProto.INT4,
        (4, False): TensorProto.UINT4,
    }[bits, signed]
    inputs = [
        form.constant(RANDOM.integers(low, high, shape), dtype),
        form.constant(scales(*size)),
        form.constant(RANDOM.integers(low, high, size), dtype),
    ]
    attributes = {"axis": axis, **({"block_size": block} if block else {})}
    w = form.node("DequantizeLinear", inputs, **attributes)
    return form.model(form.node("MatMul", ["x", w]))


def fake_quantized() -> onnx.ModelProto:
    """Return a float weight behind Q and DQ, and no activation that is quantized."""
    form = Foreign(ROWS)
    w = form.constant(RANDOM.normal(0, 0.5, (64, 6)).astype("f4"))
    grid = form.grid(scales(6), 0, "i1")
    q = form.node("QuantizeLinear", [w, *grid], axis=1)
    return form.model(
        form.node("MatMul", ["x", form.node("DequantizeLinear", [q, *grid], axis=1)])
    )


def embedding() -> onnx.ModelProto:
    """Return rows of an int8 table, dequantized after they were gathered."""
    form = Foreign((2, 8))
    rows = form.node(
        "Gather", [form.constant(bytes_of(9, 8, dtype="i1")), form.constant([3, 7])]
    )
    real = form.node("DequantizeLinear", [rows, *form.grid(0.02, 0, "i1")])
    return form.model(form.node("Add", ["x", real]))


def nbits(
    bits: int, *, size_k: int = 64, zero_points: bool = False, bias: bool = False
) -> onnx.ModelProto:
    form = Foreign((3, size_k))
    size_n, block = 5, 16
    blocks = -(-size_k // block)
    inputs = [
        "x",
        form.constant(bytes_of(size_n, blocks, block * bits // 8)),
        form.constant(scales(size_n * blocks)),
        form.constant(bytes_of(size_n * -(-blocks * bits // 8))) if zero_points else "",
        "",
        form.constant(RANDOM.normal(0, 1, size_n).astype("f4")) if bias else "",
    ]
    while not inputs[-1]:
        inputs.pop()
    y = form.contrib("MatMulNBits", inputs, K=size_k, N=size_n, bits=bits, block_size=block)
    return form.model(y)


def gather_blocks(zero_points: bool) -> onnx.ModelProto:
    form = Foreign((2, 64))
    inputs = [
        form.constant(bytes_of(9, 32)),
        form.constant([3, 7]),
        form.constant(scales(9, 4)),
        *([form.constant(bytes_of(9, 2))] if zero_points else []),
    ]
    attributes = {"block_size": 16, "bits": 4, "gather_axis": 0, "quantize_axis": 1}
    return form.model(
        form.node("Add", ["x", form.contrib("GatherBlockQuantized", inputs, **attributes)])
    )


WEIGHT_ONLY = {
    "Cast and Mul": cast_and_scale(),
    "per channel": dequantized((64, 6), 1),
    "uint8 per channel": dequantized((64, 6), 1, signed=False),
    "blocks": dequantized((64, 6), 0, block=16),
    "a last block cut short": dequantized((64, 6), 1, block=4),
    "int4": dequantized((64, 6), 1, bits=4),
    "uint4 blocks": dequantized((64, 6), 0, bits=4, signed=False, block=32),
    "float behind a pair": fake_quantized(),
    "MatMulNBits 4": nbits(4),
    "MatMulNBits 4 with zero points": nbits(4, size_k=48, zero_points=True),
    "MatMulNBits 4, rows cut short, bias": nbits(4, size_k=40, bias=True),
    "MatMulNBits 8 with zero points": nbits(8, zero_points=True),
    "GatherBlockQuantized": gather_blocks(False),
    "GatherBlockQuantized with zero points": gather_blocks(True),
}


def imported(proto: onnx.ModelProto) -> onnx.ModelProto:
    return ir.to_proto(load_model(proto))


def assert_agrees(given: onnx.ModelProto, wanted: onnx.ModelProto) -> None:
    shape = [each.dim_value for each in wanted.graph.input[0].type.tensor_type.shape.dim]
    x = np.random.default_rng(5).normal(0, 1.5, shape).astype("f4")
    expected, actual = run_onnxruntime(wanted, x), run_onnxruntime(given, x)
    assert expected.shape == actual.shape
    assert np.abs(expected).max() > 0.01
    assert np.abs(expected - actual).max() <= ROUNDINGS * np.abs(expected).max()


@pytest.mark.parametrize("proto", WEIGHT_ONLY.values(), ids=list(WEIGHT_ONLY))
def test_weight_only_becomes_a_float_model(proto: onnx.ModelProto) -> None:
    model = imported(proto)
    assert {node.op_type for node in model.graph.node} <= {"MatMul", "Add", "Gather"}
    assert_agrees(model, proto)


def test_gathered_rows_are_dequantized_where_they_are_read() -> None:
    proto = embedding()
    assert_agrees(imported(proto), proto)


def dynamic_matmul(per_channel: bool, bias: bool) -> onnx.ModelProto:
    form = Foreign(ROWS)
    count = 6 if per_channel else 1
    inputs = [
        "x",
        form.constant(bytes_of(64, 6, dtype="i1")),
        form.constant(scales(count)),
        form.constant(np.zeros(count, "i1")),
        *([form.constant(RANDOM.normal(0, 1, 6).astype("f4"))] if bias else []),
    ]
    return form.model(form.contrib("DynamicQuantizeMatMul", inputs))


def integer_to_float() -> onnx.ModelProto:
    form = Foreign(ROWS)
    form.nodes.append(
        onnx.helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"], name="dynamic")
    )
    w, w_scale = form.constant(bytes_of(64, 6, dtype="i1")), form.constant(scales(6))
    inputs = ["q", w, "s", w_scale, "z"]
    return form.model(form.contrib("MatMulIntegerToFloat", inputs))


def two_of_one() -> onnx.ModelProto:
    form = Foreign(ROWS)
    ys = [
        form.contrib(
            "DynamicQuantizeMatMul",
            ["x", form.constant(bytes_of(64, 6, dtype="i1")), form.constant(scales(1))],
        )
        for _ in range(2)
    ]
    return form.model(form.node("Sub", ys))


def conv_integer(answer: str) -> onnx.ModelProto:
    form = Foreign(IMAGE)
    form.nodes.append(
        onnx.helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"], name="dynamic")
    )
    w, zero_point = form.constant(bytes_of(6, 4, 3, 3)), form.constant(np.uint8(117))
    inputs = ["q", w, "z", zero_point]
    y = form.node("ConvInteger", inputs, pads=[1, 1, 1, 1], strides=[2, 2])
    if answer == "int32":
        return form.model(y, TensorProto.INT32)
    y = form.node("Cast", [y], to=TensorProto.FLOAT)
    return form.model(form.node("Mul", [y, form.node("Mul", ["s", form.constant(scales(1))])]))


DYNAMIC = {
    "DynamicQuantizeMatMul": dynamic_matmul(False, False),
    "DynamicQuantizeMatMul per channel, bias": dynamic_matmul(True, True),
    "DynamicQuantizeMatMul twice": two_of_one(),
    "MatMulIntegerToFloat": integer_to_float(),
    "ConvInteger": conv_integer("float"),
    "ConvInteger as an output": conv_integer("int32"),
}


@pytest.mark.parametrize("proto", DYNAMIC.values(), ids=list(DYNAMIC))
def test_dynamic_forms_become_standard_operators(proto: onnx.ModelProto) -> None:
    model = imported(proto)
    assert not {node.domain for node in model.graph.node} - {""}
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("DynamicQuantizeLinear") == 1
    assert "ConvInteger" not in kinds
    assert_agrees(model, proto)


def test_integers_of_a_convolution_are_exact() -> None:
    """36 products of 16 bits and a sign stay below 2**24."""
    proto = conv_integer("int32")
    x = np.random.default_rng(6).normal(0, 1.5, IMAGE).astype("f4")
    np.testing.assert_array_equal(
        run_onnxruntime(imported(proto), x), run_onnxruntime(proto, x)
    )
    kinds = [node.op_type for node in imported(conv_integer("float")).graph.node]
    assert kinds.count("Cast") == 2  # of the input and of its zero point


@pytest.mark.parametrize("per_channel", [False, True])
def test_onnxruntime_dynamic_quantizer(per_channel: bool, tmp_path: Path) -> None:
    """Three ConvInteger and a MatMulInteger; 72 products at most, so every sum is exact."""
    onnx.save(small_network(np.random.default_rng(0)), tmp_path / "float.onnx")
    quantize_dynamic(
        tmp_path / "float.onnx",
        tmp_path / "q.onnx",
        weight_type=QuantType.QUInt8,
        per_channel=per_channel,
    )
    proto = onnx.load(tmp_path / "q.onnx")
    kinds = [node.op_type for node in proto.graph.node]
    assert (kinds.count("ConvInteger"), kinds.count("MatMulInteger")) == (3, 1)
    x = image(np.random.default_rng(3))
    np.testing.assert_array_equal(
        run_onnxruntime(imported(proto), x), run_onnxruntime(proto, x)
    )


def dynamic_lstm(directions: int, per_channel: bool) -> onnx.ModelProto:
    form = Foreign((1, 2, 6))
    hidden, count = 4, 16 if per_channel else 1
    parameters = []
    for rows in (6, hidden):
        parameters.append(
            (
                form.constant(bytes_of(directions, rows, 4 * hidden, dtype="i1")),
                form.constant(
                    scales(directions, count) if per_channel else scales(directions)
                ),
                form.constant(
                    np.zeros((directions, count) if per_channel else directions, "i1")
                ),
            )
        )
    (w, w_scale, w_zero), (r, r_scale, r_zero) = parameters
    bias = form.constant(RANDOM.normal(0, 0.1, (directions, 8 * hidden)).astype("f4"))
    inputs = ["x", w, r, bias, "", "", "", "", w_scale, w_zero, r_scale, r_zero]
    direction = "bidirectional" if directions == 2 else "forward"
    return form.model(
        form.contrib("DynamicQuantizeLSTM", inputs, hidden_size=hidden, direction=direction)
    )


@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("per_channel", [False, True])
def test_dynamic_lstm_computes_in_float(directions: int, per_channel: bool) -> None:
    """One step from state 0: what the file's rounding of its input to 8 bits costs.

    A gate is off by d = step / 2 * sum |w| at most; the output gate moves h by d / 4 and
    the cell, 5 / 4 d off, by no more than itself.
    """
    proto = dynamic_lstm(directions, per_channel)
    model = load_model(proto)
    assert [node.op_type for node in model.graph] == ["LSTM"]
    x = np.random.default_rng(5).normal(0, 1, (1, 2, 6)).astype("f4")
    w = model.graph[0].inputs[1]
    assert w is not None
    assert w.const_value is not None
    step = (max(x.max(), 0) - min(x.min(), 0)) / 255
    gate = step / 2 * np.abs(w.const_value.numpy()).sum(axis=2).max()
    apart = np.abs(run_onnxruntime(ir.to_proto(model), x) - run_onnxruntime(proto, x))
    assert 0 < apart.max() <= 1.5 * gate


def test_dynamic_convolution_compiles_without_calibration() -> None:
    proto = conv_integer("float")
    x = np.random.default_rng(7).normal(0, 1.5, IMAGE).astype("f4")
    (answer,) = qcompile.compile(proto, target="native").run({"x": x}).values()
    expected = run_onnxruntime(proto, x)
    assert np.abs(answer - expected).max() <= ROUNDINGS * np.abs(expected).max()
