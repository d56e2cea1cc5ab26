"""Networks with float nodes that have kernels of their own."""

from __future__ import annotations

import numpy as np

NETS = {
    "a transformer layer with a mask": """
        g (float[1,9,32] x, float[32,32] q, float[32,32] k, float[32,32] v, float[32,32] o,
           float[32,64] up, float[64,32] down, float[9] m, float[32] g1, float[32] b1,
           float[32] g2) => (float[1,9,32] y)
        { n1 = LayerNormalization(x, g1, b1)
          q1 = MatMul(n1, q)  q2 = Reshape(q1, fl_h)  q3 = Transpose <perm = [0,2,1,3]> (q2)
          k1 = MatMul(n1, k)  k2 = Reshape(k1, fl_h)  k3 = Transpose <perm = [0,2,3,1]> (k2)
          v1 = MatMul(n1, v)  v2 = Reshape(v1, fl_h)  v3 = Transpose <perm = [0,2,1,3]> (v2)
          s1 = MatMul(q3, k3)  s2 = Add(m, s1)  s3 = Softmax(s2)
          c1 = MatMul(s3, v3)  c2 = Transpose <perm = [0,2,1,3]> (c1)
          c3 = Reshape(c2, fl_joined)  c4 = MatMul(c3, o)  r1 = Add(c4, x)
          n2 = LayerNormalization <epsilon = 1e-6> (r1, g2)
          f1 = MatMul(n2, up)  f2 = Gelu(f1)  f3 = MatMul(f2, down)  r2 = Add(r1, f3)
          y = LayerNormalization(r2, g2, b1) }""",
    "a layer that is normalized after its sum": """
        g (float[2,7,24] x, float[24,24] w1, float[24,24] w2, float[24] g1, float[24] b1,
           float[24] g2, float[24] b2) => (float[2,7,24] y)
        { a = MatMul(x, w1)  r = Add(a, x)  n = LayerNormalization(r, g1, b1)
          b = MatMul(n, w2)  s = Add(b, n)  y = LayerNormalization(s, g2, b2) }""",
    "float functions at the end": """
        g (float[3,5,20] x, float[20,33] w, float[33] c)
          => (float[3,5,33] a, float[3,5,33] b, float[3,5,33] d, float[3,5,33] e,
              float[5,3,33] f, float[3,5] h, float[3,1,1] i, float[3,2,33] j)
        { p = MatMul(x, w)  a = Erf(p)  b = Tanh(p)  t = Transpose <perm = [1,0,2]> (p)
          s = Sigmoid(p)  d = Div(s, c)  f = Exp(t)  u = Softmax(p)  e = Gelu(u)
          h = ReduceMean <keepdims = 0> (p, fl_last)  i = ReduceSum(p, fl_lasts)
          j = Gather <axis = 1> (p, fl_chosen) }""",
}

CONSTANTS: dict[str, np.ndarray] = {
    "fl_h": np.array([1, 9, 2, 16], np.int64),
    "fl_joined": np.array([1, 9, 32], np.int64),
    "fl_last": np.array([-1], np.int64),
    "fl_lasts": np.array([1, 2], np.int64),
    "fl_chosen": np.array([4, 1], np.int64),
}
