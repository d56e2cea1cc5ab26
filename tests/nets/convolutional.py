"""Networks of convolutions, pools, sums and tables."""

from __future__ import annotations

import numpy as np

CONV = "kernel_shape = [3, 3], pads = [1, 1, 1, 1]"

NETS = {
    "convolutions and a residual": f"""
        g (float[1,3,9,11] x, float[16,3,3,3] w1, float[16] b1, float[16,16,3,3] w2,
           float[16,16,3,3] w3) => (float[1,16,9,11] y)
        {{ a = Conv <{CONV}> (x, w1, b1)  r = Relu(a)  c = Conv <{CONV}> (r, w2)
           d = Relu(c)  e = Conv <{CONV}> (d, w3)  s = Add(e, r)  y = Relu(s) }}""",
    "strides, dilations, asymmetric pads": """
        g (float[1,5,13,12] x, float[7,5,3,2] w1, float[9,7,2,3] w2) => (float[1,9,7,5] y)
        { a = Conv <strides = [2, 1], pads = [2, 0, 1, 3], dilations = [1, 2]> (x, w1)
          y = Conv <strides = [1, 3], pads = [0, 1, 1, 0]> (a, w2) }""",
    "depthwise and pointwise": """
        g (float[1,24,10,10] x, float[24,1,3,3] w1, float[24,1,5,5] w2, float[40,24,1,1] w3)
          => (float[1,40,5,5] y)
        { a = Conv <group = 24, pads = [1, 1, 1, 1]> (x, w1)  b = Clip(a, zero, six)
          c = Conv <group = 24, pads = [2, 2, 2, 2], strides = [2, 2]> (b, w2)
          d = Relu(c)  y = Conv(d, w3) }""",
    "channels that become pixels": f"""
        g (float[1,5,6,7] x, float[12,5,3,3] w1, float[12,20,2,2] w2, float[36,20,1,1] w3,
           float[8,9,3,3] w4) => (float[1,8,24,28] y)
        {{ a = Conv <{CONV}> (x, w1)  r = Relu(a)
           t = ConvTranspose <strides = [2, 2]> (r, w2)  u = Relu(t)  c = Conv(u, w3)
           d = DepthToSpace <blocksize = 2> (c)  y = Conv <{CONV}> (d, w4) }}""",
    "channels that become pixels of floats": f"""
        g (float[1,5,6,7] x, float[12,5,3,3] w1, float[12,3,2,2] w2) => (float[1,3,12,14] y)
        {{ a = Conv <{CONV}> (x, w1)  r = Relu(a)
           t = ConvTranspose <strides = [2, 2]> (r, w2)  y = Sigmoid(t) }}""",
    "groups": """
        g (float[1,12,7,7] x, float[18,4,3,3] w1, float[9,6,1,1] w2) => (float[1,9,5,5] y)
        { a = Conv <group = 3> (x, w1)  r = Relu(a)  y = Conv <group = 3> (r, w2) }""",
    "pools and a classifier": """
        g (float[1,3,16,16] x, float[8,3,3,3] w1, float[10,8] w2, float[10] b2)
          => (float[1,10] y)
        { a = Conv <pads = [1, 1, 1, 1]> (x, w1)  r = Relu(a)
          m = MaxPool <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]> (r)
          v = AveragePool <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]> (m)
          p = GlobalAveragePool(v)  f = Flatten(p)  y = Gemm <transB = 1> (f, w2, b2) }""",
    "flatten of an image": """
        g (float[1,3,6,6] x, float[5,3,3,3] w1, float[80,10] w2) => (float[1,10] y)
        { a = Conv(x, w1)  r = Relu(a)  f = Flatten(r)  y = Gemm(f, w2) }""",
    "branches that meet": """
        g (float[1,6,8,8] x, float[10,6,1,1] w1, float[7,6,3,3] w2, float[4,23,1,1] w3)
          => (float[1,4,8,8] y, float[1,23,8,8] z)
        { a = Conv(x, w1)  b = Conv <pads = [1, 1, 1, 1]> (x, w2)
          m = MaxPool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x)
          z = Concat <axis = 1> (a, b, m)  y = Conv(z, w3) }""",
    "tables and a gate": """
        g (float[1,16,6,6] x, float[16,16,1,1] w1, float[16,16,1,1] w2) => (float[1,16,6,6] y)
        { a = Conv(x, w1)  h = HardSwish(a)  s = Sigmoid(h)  t = Tanh(s)
          c = Conv(t, w2)  u = Add(c, t)  y = Add(u, h) }""",
    "channels last": """
        g (float[1,8,8,3] x, float[6,3,3,3] w1, float[4,6,1,1] w2) => (float[1,8,8,4] y)
        { t = Transpose <perm = [0, 3, 1, 2]> (x)  a = Conv <pads = [1, 1, 1, 1]> (t, w1)
          r = Relu(a)  c = Conv(r, w2)  y = Transpose <perm = [0, 2, 3, 1]> (c) }""",
    "rows": """
        g (float[2,5,12] x, float[12,20] w1, float[20] b1, float[20,12] w2)
          => (float[2,5,12] y)
        { a = MatMul(x, w1)  c = Add(a, b1)  r = Relu(c)  d = MatMul(r, w2)
          y = Add(d, x) }""",
    "sums with constants": """
        g (float[1,6,5,5] x, float[1,6,1,5] w1, float[6,6,1,1] w2, float[6,1,1] w3)
          => (float[1,6,5,5] y)
        { a = Add(x, w1)  c = Conv(a, w2)  r = Relu(c)  y = Add(w3, r) }""",
    "slices and pads": """
        g (float[1,4,10,10] x, float[8,4,3,3] w1, float[6,8,3,3] w2) => (float[1,6,5,6] y)
        { a = Conv(x, w1)  s = Slice(a, from, to, axes)  p = Pad(s, pads)
          y = Conv(p, w2) }""",
    "a reflecting pad": """
        g (float[1,4,8,8] x, float[4,4,3,3] w1, float[4,4,3,3] w2) => (float[1,4,6,6] y)
        { a = Conv(x, w1)  p = Pad <mode = "reflect"> (a, around)  y = Conv(p, w2) }""",
    "an island of two outputs": """
        g (float[1,4,6,6] x, float[4,4,1,1] w1, float[4,8,1,1] w2)
          => (float[1,4,6,6] y, float[1,4,6,6] z)
        { a = Conv(x, w1)  b = Cosh(a)  c = Div(a, b)
          e = Concat <axis = 1> (c, b)  y = Conv(e, w2)  z = Mul(a, c) }""",
    "softmax inside": """
        g (float[1,6,4] x, float[4,8] w1, float[8,4] w2) => (float[1,6,4] y)
        { a = MatMul(x, w1)  s = Softmax <axis = -1> (a)  y = MatMul(s, w2) }""",
    "softmax over another axis": """
        g (float[1,6,4] x, float[4,8] w1, float[8,4] w2) => (float[1,6,4] y)
        { a = MatMul(x, w1)  s = Softmax <axis = 1> (a)  y = MatMul(s, w2) }""",
    "a float island": """
        g (float[1,6,5,5] x, float[8,6,1,1] w1, float[8,8,1,1] w2) => (float[1,8,5,5] y)
        { a = Conv(x, w1)  m = Cosh(a)  r = ReduceMean <keepdims = 1> (m, last)
          n = Div(m, r)  y = Conv(n, w2) }""",
    "a concat with a far larger part": """
        g (float[1,3,6,6] x, float[4,3,3,3] w1, float[5,8,1,1] w2, float[4,4,1,1] w3)
          => (float[1,5,4,4] y, float[1,4,4,4] z)
        { c = Conv(x, w1)  m = Mul(c, hundred)  q = Concat <axis = 1> (c, m)
          y = Conv(q, w2)  z = Conv(c, w3) }""",
    "a batch": """
        g (float[3,3,8,8] x, float[12,3,3,3] w1, float[12,1,3,3] w2, float[12,5] w3)
          => (float[3,5] y)
        { a = Conv <pads = [1, 1, 1, 1]> (x, w1)  r = Relu(a)
          d = Conv <group = 12, pads = [1, 1, 1, 1], strides = [2, 2]> (r, w2)
          p = GlobalAveragePool(d)  f = Flatten(p)  l = MatMul(f, w3)
          y = Softmax <axis = -1> (l) }""",
}

CONSTANTS: dict[str, np.ndarray] = {
    "zero": np.array(0, np.float32),
    "six": np.array(6, np.float32),
    "hundred": np.array(100, np.float32),
    "from": np.array([1, -6], np.int64),
    "to": np.array([1000, -1], np.int64),
    "axes": np.array([2, 3], np.int64),
    "pads": np.array([0, 0, 0, 2, 0, 0, 0, 1], np.int64),
    "around": np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64),
    "last": np.array([3], np.int64),
}
