"""Networks with matrix products of two activations."""

from __future__ import annotations

import numpy as np

NETS = {
    "attention": """
        g (float[1,12,32] x, float[32,32] q, float[32,32] k, float[32,32] v, float[32,32] o)
          => (float[1,12,32] y)
        { q1 = MatMul(x, q)  q2 = Reshape(q1, heads)  q3 = Transpose <perm = [0,2,1,3]> (q2)
          k1 = MatMul(x, k)  k2 = Reshape(k1, heads)  k3 = Transpose <perm = [0,2,3,1]> (k2)
          v1 = MatMul(x, v)  v2 = Reshape(v1, heads)  v3 = Transpose <perm = [0,2,1,3]> (v2)
          s1 = MatMul(q3, k3)  s2 = Mul(s1, softer)  s3 = Softmax <axis = -1> (s2)
          c1 = MatMul(s3, v3)  c2 = Transpose <perm = [0,2,1,3]> (c1)  c3 = Reshape(c2, joined)
          y = MatMul(c3, o) }""",
    "attention with wide heads": """
        g (float[2,5,48] x, float[48,48] q, float[48,48] k, float[48,16] o)
          => (float[2,5,16] y)
        { q1 = MatMul(x, q)  k1 = MatMul(x, k)  k2 = Transpose <perm = [0,2,1]> (k1)
          s1 = MatMul(q1, k2)  s2 = Softmax <axis = -1> (s1)  c1 = MatMul(s2, q1)
          y = MatMul(c1, o) }""",
    "products that stay in 8 bits": """
        g (float[2,3,6,7] x, float[7,9] w1, float[6,5] w2) => (float[2,3,6,5] y)
        { a = MatMul(x, w1)  t = Transpose <perm = [0,1,3,2]> (a)  p = MatMul(a, t)
          r = Relu(p)  y = MatMul(r, w2) }""",
    "one matrix for a batch": """
        g (float[3,4,5] x, float[5,21] w1, float[4,4] w2) => (float[3,4,4] y, float[4,3,21] z)
        { a = MatMul(x, w1)  b = Slice(a, zeroth, oneth, zeroth)  c = Squeeze(b, zeroth)
          t = Transpose <perm = [1,0]> (c)  p = MatMul(a, t)  r = Relu(p)  y = MatMul(r, w2)
          z = Transpose <perm = [1,0,2]> (a) }""",
    "a product of images": """
        g (float[1,8,4,4] x, float[8,8,1,1] w1, float[8,8,1,1] w2) => (float[1,8,4,4] y)
        { a = Conv(x, w1)  b = Conv(x, w2)  p = MatMul(a, b)  y = Conv(p, w1) }""",
    "a constant times an activation": """
        g (float[1,6,8] x, float[8,10] w1, float[5,6] c, float[10,3] w2) => (float[1,5,3] y)
        { a = MatMul(x, w1)  b = Relu(a)  p = MatMul(c, b)  y = MatMul(p, w2) }""",
}

CONSTANTS: dict[str, np.ndarray] = {
    "heads": np.array([1, 12, 4, 8], np.int64),
    "joined": np.array([1, 12, 32], np.int64),
    "softer": np.array(0.35, np.float32),
    "zeroth": np.array([0], np.int64),
    "oneth": np.array([1], np.int64),
}
