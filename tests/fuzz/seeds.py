"""What mutants are made of: small files of every kind that the compiler reads."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import onnx
import onnx.backend.test
import onnx_ir as ir
from PIL import Image

from tests.graphs import graph

GRAPHS = {
    "convolution": """g (float[1,3,8,8] x) => (float[1,2,4,4] y)
        <float[2,3,1,1] w = {1, -2, 3, -4, 5, -6}>
        { c = Conv <kernel_shape = [1, 1], pads = [0, 0, 0, 0]> (x, w)  r = Relu(c)
          y = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r) }""",
    "qdq": """g (float[1,4] x) => (float[1,2] y)
        <float s = {0.5}, uint8 z = {3}, int8[4,2] w = {1, -2, 3, -4, 5, -6, 7, -8},
        float[2] sw = {0.1, 0.2}, int8[2] zw = {0, 0}>
        { q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)
          dw = DequantizeLinear <axis = 1> (w, sw, zw)  m = MatMul(d, dw)
          r = QuantizeLinear(m, s, z)  y = DequantizeLinear(r, s, z) }""",
    "shape arithmetic": """g (float[2,3,4] x) => (float[A,B] y)
        <int64 zero = {0}, int64[1] rest = {-1}, int64[1] front = {0}, int64 two = {2}>
        { s = Shape(x)  a = Gather(s, zero)  b = Mul(a, two)  u = Unsqueeze(b, front)
          t = Concat <axis = 0> (u, rest)  y = Reshape(x, t) }""",
    "sizes from constants": """g (float[1,1,4,4] x) => (float[A,B,C,D] y, float[E] z)
        <int64[4] reps = {1, 2, 1, 1}, int64[4] sizes = {1, 2, 6, 6}, int64[1] n = {5},
        int64 zero = {0}, int64 nine = {9}, int64 one = {1}, int64[4] big = {3, 2, 6, 6}>
        { t = Tile(x, reps)  r = Resize <mode = "nearest"> (t, , , sizes)
          y = Expand(r, big)  c = ConstantOfShape(n)  i = Range(zero, nine, one)
          f = Cast <to = 1> (i)  p = Concat <axis = 0> (c, f)  z = Neg(p) }""",
    "branch": """g (float[4] x) => (float[4] y) <float zero = {0}>
        { s = ReduceSum <keepdims = 0> (x)  c = Greater(s, zero)
          y = If (c) <
            then_branch: graph = t () => (float[4] a) { a = Neg(x) },
            else_branch: graph = e () => (float[4] b) { b = Relu(x) }> }""",
    "recurrent": """g (float[2,1,1] x) => (float[2,1,1,1] y)
        <float[1,4,1] w = {1, 2, 3, 4}, float[1,4,1] r = {1, -2, 3, -4}>
        { y = LSTM <hidden_size = 1> (x, w, r) }""",
    "attention": """g (float[1,4,8] x) => (float[1,4,8] y)
        <float[8] s = {1, 1, 1, 1, 1, 1, 1, 1}, int64[1] last = {-1}, float k = {0.35}>
        { n = LayerNormalization(x, s)  t = Transpose <perm = [0, 2, 1]> (n)  m = MatMul(n, t)
          d = Mul(m, k)  p = Softmax <axis = -1> (d)  o = MatMul(p, n)  e = Erf(o)
          v = ReduceMean <keepdims = 1> (o, last)  a = Sub(e, v)  y = Add(x, a) }""",
}
"""Graphs whose operators read sizes, hold graphs, or are rewritten on import."""

LIGHT = ("light_squeezenet.onnx",)
"""Real architectures that the onnx package brings along, with weights that they compute."""

CONFIG = b"""recipe = "static-int8"
calibrator = "mse"
float_ops = ["Softmax", "Erf"]

[ops.Conv]
per_channel = false
symmetric = true

[nodes."*/head/*"]
float = true
activation = "u8"
"""


def models() -> list[bytes]:
    """Return ONNX files."""
    return [ir.to_proto(graph(text)).SerializeToString() for text in GRAPHS.values()]


def light_models() -> list[bytes]:
    """Return the ONNX files of real architectures."""
    folder = Path(str(onnx.backend.test.__file__)).parent / "data" / "light"
    return [(folder / name).read_bytes() for name in LIGHT]


def archives() -> list[bytes]:
    """Return .npz files of images."""
    images = np.arange(2 * 3 * 4 * 4).reshape(2, 3, 4, 4)
    files = []
    for array in (images.astype(np.float32), images.astype(np.uint8)):
        for write in (np.savez, np.savez_compressed):
            stream = io.BytesIO()
            write(stream, allow_pickle=False, image=array)
            files.append(stream.getvalue())
    return files


def arrays() -> list[bytes]:
    """Return .npy files of one image."""
    files = []
    for dtype in (np.float32, np.uint8, np.float64):
        stream = io.BytesIO()
        np.save(stream, np.arange(48).reshape(3, 4, 4).astype(dtype))
        files.append(stream.getvalue())
    return files


def pictures() -> dict[str, bytes]:
    """Return image files by suffix."""
    picture = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
    files = {}
    for suffix, kind in (("png", "PNG"), ("jpg", "JPEG"), ("bmp", "BMP")):
        stream = io.BytesIO()
        picture.save(stream, kind)
        files[suffix] = stream.getvalue()
    return files
