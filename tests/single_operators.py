"""One operator a model, between DequantizeLinear and QuantizeLinear, in every variant."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import onnx

Array = npt.NDArray[np.generic]

HEADER = '< ir_version: 10, opset_import: ["" : 21] >\n'
X_SCALE, X_ZERO = 0.0371, 117


@dataclasses.dataclass(frozen=True)
class Case:
    """One operator as a QDQ graph.

    Attributes:
        x: Shape of the input x.
        y: Shape of the output y.
        body: ONNX text from xf, x dequantized, to yf, which is then quantized; it may name
            what is in CONSTANTS.
        y_scale: Scale of the output.
        y_zero: Its zero point.
        w: Shape of the int8 weights, dequantized as wf; the bias is bf, one an output.
        channels: The output axis of w.
        second: Shape of a second activation, rf, if there is one.
        integer: The integer operator it becomes, if not one of the domain `qcompile`.
    """

    x: tuple[int, ...]
    y: tuple[int, ...]
    body: str
    y_scale: float
    y_zero: int = 120
    w: tuple[int, ...] = ()
    channels: int = 0
    second: tuple[int, ...] = ()
    integer: str = ""


IMAGE, SMALL = (4, 16, 20, 18), (4, 16, 10, 9)
MATRIX, ROWS = (16, 8, 48), (16, 8, 96)
CONV = "yf = Conv <pads = [1, 1, 1, 1]> (xf, wf, bf)"
SOFTMAX = "yf = Softmax <axis = -1> (xf)"
TABLES = {
    "Sigmoid": (0.0039, 0),
    "Tanh": (0.0078, 128),
    "HardSwish": (0.0211, 17),
    "Gelu": (0.0231, 11),
    "LeakyRelu": (0.0213, 3),
    "Elu": (0.0251, 40),
    "Exp": (0.51, 0),
}
CONSTANTS: dict[str, Array] = {
    "last": np.array([-1], np.int64),
    "lines": np.array([2], np.int64),
    "one": np.array([1], np.int64),
    "pixels": np.array([2, 3], np.int64),
    "slopes": np.linspace(-0.4, 0.9, 16, dtype=np.float32).reshape(16, 1, 1),
    "stripes": np.arange(18) % 3 == 0,
}
CASES = {
    "conv": Case(IMAGE, (4, 24, 20, 18), CONV, 0.31, w=(24, 16, 3, 3)),
    "conv 1x1": Case(IMAGE, (4, 40, 20, 18), "yf = Conv(xf, wf, bf)", 0.11, w=(40, 16, 1, 1)),
    "conv strided, dilated, uneven pads": Case(
        IMAGE,
        (4, 32, 10, 8),
        "yf = Conv <strides = [2, 2], dilations = [2, 1], pads = [2, 0, 1, 1]> (xf, wf, bf)",
        0.31,
        w=(32, 16, 3, 4),
    ),
    "conv grouped": Case(
        IMAGE,
        (4, 24, 20, 18),
        "yf = Conv <pads = [1, 1, 1, 1], group = 4> (xf, wf, bf)",
        0.17,
        w=(24, 4, 3, 3),
    ),
    "conv depthwise": Case(
        IMAGE,
        IMAGE,
        "yf = Conv <pads = [1, 1, 1, 1], group = 16> (xf, wf, bf)",
        0.09,
        w=(16, 1, 3, 3),
    ),
    "conv relu": Case(
        IMAGE,
        (4, 24, 20, 18),
        "cf = Conv <pads = [1, 1, 1, 1]> (xf, wf, bf)  yf = Relu(cf)",
        0.21,
        y_zero=0,
        w=(24, 16, 3, 3),
    ),
    "conv add relu": Case(
        IMAGE,
        IMAGE,
        "cf = Conv <pads = [1, 1, 1, 1]> (xf, wf, bf)  sf = Add(cf, rf)  yf = Relu(sf)",
        0.21,
        y_zero=0,
        w=(16, 16, 3, 3),
        second=IMAGE,
    ),
    "gemm": Case((128, 64), (128, 80), "yf = Gemm(xf, wf, bf)", 0.19, w=(64, 80), channels=1),
    "matmul": Case(MATRIX, ROWS, "yf = MatMul(xf, wf)", 0.17, w=(48, 96), channels=1),
    "add": Case(IMAGE, IMAGE, "yf = Add(xf, rf)", 0.0517, second=IMAGE),
    "add relu": Case(
        IMAGE, IMAGE, "sf = Add(xf, rf)  yf = Relu(sf)", 0.0317, y_zero=0, second=IMAGE
    ),
    "sub": Case(IMAGE, IMAGE, "yf = Sub(xf, rf)", 0.0517, second=IMAGE),
    "mul": Case(IMAGE, IMAGE, "yf = Mul(xf, rf)", 0.131, second=IMAGE),
    "mul by channels": Case(IMAGE, IMAGE, "yf = Mul(rf, xf)", 0.131, second=(4, 16, 1, 1)),
    "mul relu": Case(
        IMAGE, IMAGE, "mf = Mul(xf, rf)  yf = Relu(mf)", 0.081, y_zero=0, second=IMAGE
    ),
    "square": Case(IMAGE, IMAGE, "yf = Mul(xf, xf)", 0.071, y_zero=0),
    "reduce mean of pixels": Case(
        (64, 80, 7, 7), (64, 80, 1, 1), "yf = ReduceMean(xf, pixels)", 0.0053
    ),
    "reduce mean of rows": Case(
        MATRIX, (16, 8), "yf = ReduceMean <keepdims = 0> (xf, last)", 0.0113
    ),
    "reduce sum of channels": Case(IMAGE, (4, 1, 20, 18), "yf = ReduceSum(xf, one)", 0.131),
    "prelu by channels": Case(IMAGE, IMAGE, "yf = PRelu(xf, slopes)", 0.0391),
    "average pool": Case(
        IMAGE,
        SMALL,
        "yf = AveragePool <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]> (xf)",
        0.0171,
    ),
    "average pool with pads": Case(
        IMAGE,
        SMALL,
        "yf = AveragePool <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1],"
        " count_include_pad = 1> (xf)",
        0.0171,
    ),
    "global average pool": Case(
        (64, 80, 7, 7), (64, 80, 1, 1), "yf = GlobalAveragePool(xf)", 0.0053
    ),
    "softmax": Case((512, 20), (512, 20), SOFTMAX, 1 / 256, y_zero=0),
    "requantize": Case(IMAGE, IMAGE, "yf = Identity(xf)", 0.0273),
    "max pool": Case(
        IMAGE,
        SMALL,
        "yf = MaxPool <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]> (xf)",
        X_SCALE,
        X_ZERO,
        integer="MaxPool",
    ),
    "transpose": Case(
        IMAGE,
        (4, 20, 18, 16),
        "yf = Transpose <perm = [0, 2, 3, 1]> (xf)",
        X_SCALE,
        X_ZERO,
        integer="Transpose",
    ),
    "reduce max": Case(
        (4, 16, 2, 180),
        (4, 16, 180),
        "yf = ReduceMax <keepdims = 0> (xf, lines)",
        X_SCALE,
        X_ZERO,
        integer="ReduceMax",
    ),
    "where": Case(
        IMAGE,
        IMAGE,
        "yf = Where(stripes, xf, rf)",
        0.0471,
        second=IMAGE,
        integer="Where",
    ),
    "concat": Case(
        IMAGE,
        (4, 32, 20, 18),
        "yf = Concat <axis = 1> (xf, rf)",
        0.0471,
        second=IMAGE,
        integer="Concat",
    ),
    **{
        op_type: Case(IMAGE, IMAGE, f"yf = {op_type}(xf)", scale, zero)
        for op_type, (scale, zero) in TABLES.items()
    },
}


def qdq_model(case: Case, dtype: type[np.integer]) -> onnx.ModelProto:
    """Return the case as a QDQ model with activations of that type."""
    kind = np.dtype(dtype).name
    shift = 128 if dtype is np.int8 else 0
    rng = np.random.default_rng(7)
    constants: dict[str, Array] = {
        "sx": np.array(X_SCALE, np.float32),
        "zx": np.array(X_ZERO - shift, dtype),
        "sy": np.array(case.y_scale, np.float32),
        "zy": np.array(case.y_zero - shift, dtype),
        **{name: each for name, each in CONSTANTS.items() if name in case.body},
    }
    second = f", {kind}{list(case.second)} r" if case.second else ""
    lines = ["xf = DequantizeLinear(x, sx, zx)"]
    if case.second:
        constants |= {"sr": np.array(0.0513, np.float32), "zr": np.array(131 - shift, dtype)}
        lines.append("rf = DequantizeLinear(r, sr, zr)")
    if case.w:
        outputs = case.w[case.channels]
        # 63, not 127: where a CPU lacks VNNI, onnxruntime's u8 times s8 adds two products in
        # int16, saturating; 2 * 255 * 63 fits.
        constants["w"] = rng.integers(-63, 64, case.w).astype(np.int8)
        w_scale = rng.uniform(0.002, 0.006, outputs).astype(np.float32)
        constants["sw"] = w_scale
        constants["zw"] = np.zeros(outputs, np.int8)
        constants["b"] = rng.integers(-20_000, 20_000, outputs).astype(np.int32)
        constants["sb"] = np.float32(X_SCALE) * w_scale
        constants["zb"] = np.zeros(outputs, np.int32)
        lines.append(f"wf = DequantizeLinear <axis = {case.channels}> (w, sw, zw)")
        lines.append("bf = DequantizeLinear <axis = 0> (b, sb, zb)")
    lines += [case.body, "y = QuantizeLinear(yf, sy, zy)"]
    inputs = f"{kind}{list(case.x)} x{second}"
    text = f"{HEADER} g ({inputs}) => ({kind}{list(case.y)} y) {{ {'  '.join(lines)} }}"
    model = onnx.parser.parse_model(text)
    for name, array in constants.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    onnx.checker.check_model(model)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


def draw_inputs(model: onnx.ModelProto, dtype: type[np.integer]) -> dict[str, Array]:
    rng = np.random.default_rng(11)
    limits = np.iinfo(dtype)
    return {
        value.name: rng.integers(
            limits.min,
            limits.max,
            [size.dim_value for size in value.type.tensor_type.shape.dim],
            dtype,
            endpoint=True,
        )
        for value in model.graph.input
    }
