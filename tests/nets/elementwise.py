"""Networks of sums, products, tables, reductions and choices."""

from __future__ import annotations

import numpy as np

NETS = {
    "squeeze and excite": """
        g (float[1,3,9,9] x, float[24,3,3,3] w1, float[6,24,1,1] w2, float[6] b2,
           float[24,6,1,1] w3, float[24] b3, float[8,24,1,1] w4) => (float[1,8,9,9] y)
        { a = Conv <pads = [1, 1, 1, 1]> (x, w1)  h = HardSwish(a)
          p = GlobalAveragePool(h)  c = Conv(p, w2, b2)  r = Relu(c)  e = Conv(r, w3, b3)
          s = HardSigmoid <alpha = 0.16666667, beta = 0.5> (e)  m = Mul(h, s)
          y = Conv(m, w4) }""",
    "squeeze and excite by a mean": """
        g (float[2,3,9,9] x, float[24,3,3,3] w1, float[6,24,1,1] w2, float[24,6,1,1] w3,
           float[8,24,1,1] w4) => (float[2,8,9,9] y)
        { a = Conv <pads = [1, 1, 1, 1]> (x, w1)  h = Relu(a)
          p = ReduceMean <keepdims = 1> (h, pixels)  c = Conv(p, w2)  r = Relu(c)
          e = Conv(r, w3)  s = Sigmoid(e)  m = Mul(s, h)  y = Conv(m, w4) }""",
    "attention to places": """
        g (float[1,3,8,8] x, float[20,3,1,1] w1, float[1,2,3,3] w2, float[5,20,1,1] w3)
          => (float[1,5,8,8] y)
        { a = Conv(x, w1)  r = Relu(a)  m = ReduceMean <keepdims = 1> (r, one)
          t = ReduceMax <keepdims = 1> (r, one)  c = Concat <axis = 1> (m, t)
          e = Conv <pads = [1, 1, 1, 1]> (c, w2)  s = Sigmoid(e)  g = Mul(r, s)
          y = Conv(g, w3) }""",
    "differences, products and constants": """
        g (float[2,6,12] x, float[12,20] w1, float[12,20] w2, float[20] w3, float[6,1] w4,
           float[20,12] w5) => (float[2,6,12] y, float[2,6,20] z)
        { a = MatMul(x, w1)  b = MatMul(x, w2)  c = Sub(a, b)  d = Mul(a, b)  e = Mul(c, w3)
          f = Sub(w4, e)  h = Mul(d, d)  k = Add(f, h)  y = MatMul(k, w5)  z = Mul(k, c) }""",
    "tables of every kind": """
        g (float[1,12,5,5] x, float[16,12,1,1] w1, float[16,1,1] w2, float[16,16,1,1] w3)
          => (float[1,16,5,5] y)
        { a = Conv(x, w1)  b = LeakyRelu(a)  c = PRelu(a, w2)  d = Elu(a)  e = Gelu(a)
          f = Erf(a)  h = Exp(f)  i = Sqrt(h)  j = Tanh(a)  k = HardSigmoid(a)
          s = Sigmoid(a)  l = Mul(s, a)  m = HardSwish(a)  n = Div(a, six)  o = Pow(n, two)
          p = Max(a, zero)  q = Min(p, six)  r = PRelu(a, two)
          t = Concat <axis = 0> (b, c, d, e, i, j, k, l, m, o, q, r)
          v = ReduceSum <keepdims = 1> (t, first)  y = Conv(v, w3) }""",
    "slopes of rows": """
        g (float[3,4,10] x, float[10,20] w1, float[20] w2, float[4,1] w3, float[20,5] w4)
          => (float[3,4,5] y)
        { a = MatMul(x, w1)  b = PRelu(a, w2)  c = PRelu(b, w3)  y = MatMul(c, w4) }""",
    "reductions": """
        g (float[2,6,5,8] x, float[8,18] w1, float[18,7] w2, float[5,9] w3)
          => (float[2,6,7] y, float[2,9] z, float[6] u)
        { a = MatMul(x, w1)  b = ReduceMean <keepdims = 0> (a, two_of)
          y = MatMul(b, w2)  c = ReduceMin <keepdims = 0> (a, last)
          d = ReduceSum <keepdims = 0> (c, one)  z = MatMul(d, w3)
          e = ReduceMax <keepdims = 0> (a, back)  u = ReduceSum <keepdims = 0> (e, ends) }""",
    "choices": """
        g (float[1,6,7,7] x, float[16,6,1,1] w1, float[16,16,1,1] w2, float[1,16,1,7] w3)
          => (float[1,16,7,7] y)
        { a = Conv(x, w1)  r = Relu(a)  h = ReduceMean <keepdims = 1> (a, one)
          p = Greater(h, zero)  c = Where(p, r, six)  d = Where(stripes, c, w3)
          y = Conv(d, w2) }""",
}

CONSTANTS: dict[str, np.ndarray] = {
    "two": np.array(2, np.float32),
    "one": np.array([1], np.int64),
    "first": np.array([0], np.int64),
    "pixels": np.array([2, 3], np.int64),
    "two_of": np.array([-2], np.int64),
    "back": np.array([-2, 3], np.int64),
    "ends": np.array([0], np.int64),
    "stripes": np.array([True, False, True, True, False, True, False]),
}
