"""Networks that resize, pad, gather, repeat and shuffle."""

from __future__ import annotations

import numpy as np

NEAREST = 'mode = "nearest", coordinate_transformation_mode = "asymmetric"'

NETS = {
    "nearest, by half pixels to sizes": """
        g (float[1,3,6,7] x, float[20,3,3,3] w1, float[8,20,1,1] w2) => (float[1,8,9,5] y)
        { a = Conv <pads = [1, 1, 1, 1]> (x, w1)  r = Relu(a)
          u = Resize <mode = "nearest", coordinate_transformation_mode = "half_pixel",
            axes = [2, 3]> (r, , , nine_five)
          y = Conv(u, w2) }""",
    "linear to sizes, then an activation": """
        g (float[1,3,6,7] x, float[20,3,3,3] w1, float[8,20,1,1] w2)
          => (float[1,8,9,5] y, float[1,20,9,5] z)
        { a = Conv <pads = [1, 1, 1, 1]> (x, w1)
          u = Resize <mode = "linear", coordinate_transformation_mode = "align_corners",
            axes = [3, 2]> (a, , , five_nine)
          r = Relu(u)  y = Conv(r, w2)
          z = Resize <mode = "linear", axes = [2, 3]> (a, , , nine_five) }""",
    "pads that reflect, repeat and wrap": """
        g (float[1,4,6,6] x, float[9,4,3,3] w1, float[9,9,3,3] w2, float[9,9,3,3] w3,
           float[4,9,3,3] w4) => (float[1,4,6,6] y)
        { p = Pad <mode = "reflect"> (x, pad_one)  a = Conv(p, w1)  r = Relu(a)
          q = Pad <mode = "edge"> (r, pad_one)  b = Conv(q, w2)  s = Relu(b)
          t = Pad <mode = "wrap"> (s, pad_uneven)  c = Conv(t, w3)
          m = Relu(c)  n = Pad(m, pad_one)  y = Conv(n, w4) }""",
    "channels by their indices": """
        g (float[1,6,5,5] x, float[24,6,1,1] w1, float[8,24,1,1] w2, float[8,5,1,1] w3)
          => (float[1,8,5,5] y, float[1,8,5,5] z)
        { a = Conv(x, w1)  r = Relu(a)  s = Gather <axis = 1> (r, channels)
          o = Gather <axis = 1> (r, five_channels)
          y = Conv(s, w2)  z = Conv(o, w3) }""",
    "depth to space and back": """
        g (float[1,3,4,6] x, float[32,3,1,1] w1, float[32,8,3,3] w2, float[5,128,1,1] w3)
          => (float[1,5,4,6] y)
        { a = Conv(x, w1)  r = Relu(a)  u = DepthToSpace <blocksize = 2> (r)
          b = Conv <pads = [1, 1, 1, 1]> (u, w2)  s = Relu(b)
          v = SpaceToDepth <blocksize = 2> (s)  y = Conv(v, w3) }""",
}

MORE = {
    "nearest, twice as large": f"""
        g (float[1,3,6,7] x, float[20,3,3,3] w1, float[8,20,3,3] w2) => (float[1,8,10,12] y)
        {{ a = Conv <pads = [1, 1, 1, 1]> (x, w1)  r = Relu(a)
          u = Resize <{NEAREST}, nearest_mode = "floor"> (r, , twice)  y = Conv(u, w2) }}""",
    "linear, twice as large": """
        g (float[1,3,6,7] x, float[20,3,3,3] w1, float[8,20,3,3] w2) => (float[1,8,10,12] y)
        { a = Conv <pads = [1, 1, 1, 1]> (x, w1)  r = Relu(a)
          u = Resize <mode = "linear"> (r, , twice)  y = Conv(u, w2) }""",
    "linear, floats of a few channels": """
        g (float[1,3,6,7] x, float[12,3,3,3] w1, float[3,12,1,1] w2) => (float[1,3,12,14] y)
        { a = Conv <pads = [1, 1, 1, 1]> (x, w1)  r = Relu(a)  c = Conv(r, w2)
          y = Resize <mode = "linear"> (c, , twice) }""",
    "linear, floats of one channel": """
        g (float[2,3,6,7] x, float[12,3,3,3] w1, float[1,12,1,1] w2) => (float[2,1,12,14] y)
        { a = Conv <pads = [1, 1, 1, 1]> (x, w1)  r = Relu(a)  c = Conv(r, w2)
          y = Resize <mode = "linear"> (c, , twice) }""",
    "linear, in rows": """
        g (float[2,5,12] x, float[12,20] w1, float[31,6] w2) => (float[2,5,6] y)
        { a = MatMul(x, w1)  r = Relu(a)
          u = Resize <mode = "linear", axes = [2]> (r, , , to_31)  y = MatMul(u, w2) }""",
    "cubic": """
        g (float[1,3,6,7] x, float[4,3,3,3] w1, float[5,4,1,1] w2) => (float[1,5,8,10] y)
        { a = Conv(x, w1)  u = Resize <mode = "cubic"> (a, , twice)  y = Conv(u, w2) }""",
    "pads of rows": """
        g (float[2,12] x, float[12,10] w1, float[14,6] w2) => (float[2,6] y)
        { a = MatMul(x, w1)  r = Relu(a)  p = Pad <mode = "reflect"> (r, pad_columns)
          y = MatMul(p, w2) }""",
    "a row of a tensor": """
        g (float[2,5,12] x, float[12,20] w1, float[20,8] w2) => (float[2,8] y)
        { a = MatMul(x, w1)  r = Relu(a)  t = Gather <axis = 1> (r, last_one)
          y = MatMul(t, w2) }""",
    "an embedding": """
        g (float[2,5] x, float[11,16] table, float[16,10] w1) => (float[2,5,10] y)
        { h = Mul(x, three)  i = Cast <to = 7> (h)  e = Gather(table, i)
          y = MatMul(e, w1) }""",
    "a square of rows": """
        g (float[6,12] x, float[12,20] w1, float[20,8] w2) => (float[2,2,8] y)
        { a = MatMul(x, w1)  r = Relu(a)  t = Gather <axis = 0> (r, square)
          y = MatMul(t, w2) }""",
    "rows chosen at run time": """
        g (float[6,12] x, float[12,20] w1, float[12,1] w2, float[20,8] w3)
          => (float[6,1,8] y)
        { a = MatMul(x, w1)  r = Relu(a)  c = MatMul(x, w2)  p = Sigmoid(c)
          h = Mul(p, five)  i = Cast <to = 7> (h)
          s = Gather <axis = 0> (r, i)  y = MatMul(s, w3) }""",
    "repeated": """
        g (float[1,5,1,6] x, float[12,5,1,1] w1, float[7,24,3,3] w2) => (float[1,7,2,10] y)
        { a = Conv(x, w1)  r = Relu(a)  e = Expand(r, four_lines)  t = Tile(e, tiles)
          y = Conv(t, w2) }""",
    "shuffled channels": """
        g (float[1,6,4,4] x, float[32,6,1,1] w1, float[32,1,3,3] w2, float[8,64,1,1] w3)
          => (float[1,8,4,4] y)
        { a = Conv(x, w1)  r = Relu(a)  d = Conv <group = 32, pads = [1, 1, 1, 1]> (r, w2)
          c = Concat <axis = 1> (r, d)  h = Reshape(c, halves)
          t = Transpose <perm = [0, 2, 1, 3, 4]> (h)  m = Reshape(t, merged)
          y = Conv(m, w3) }""",
    "split, halves swapped": """
        g (float[1,6,4,4] x, float[32,6,1,1] w1, float[16,16,1,1] w2, float[8,32,1,1] w3)
          => (float[1,8,4,4] y)
        { a = Conv(x, w1)  r = Relu(a)  b, c = Split <num_outputs = 2, axis = 1> (r)
          d = Conv(c, w2)  m = Concat <axis = 1> (d, b)  y = Conv(m, w3) }""",
}
"""Run with static scales on this machine only (tests/targets/test_movers.py)."""

CONSTANTS: dict[str, np.ndarray] = {
    "twice": np.array([1, 1, 2, 2], np.float32),
    "square": np.array([[-1, 2], [0, 3]], np.int64),
    "nine_five": np.array([9, 5], np.int64),
    "five_nine": np.array([5, 9], np.int64),
    "to_31": np.array([31], np.int64),
    "pad_one": np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64),
    "pad_uneven": np.array([0, 0, 2, -1, 0, 0, 0, 3], np.int64),
    "pad_columns": np.array([0, 1, 0, 3], np.int64),
    "channels": np.arange(24, dtype=np.int64).reshape(2, 12).T.reshape(-1),
    "five_channels": np.array([3, -1, 0, 0, 23], np.int64),
    "last_one": np.array(-1, np.int64),
    "ones": np.ones(16, np.float32),
    "three": np.array(3, np.float32),
    "five": np.array(5, np.float32),
    "four_lines": np.array([1, 1, 4, 1], np.int64),
    "tiles": np.array([1, 2, 1, 2], np.int64),
    "halves": np.array([1, 2, 32, 4, 4], np.int64),
    "merged": np.array([1, 64, 4, 4], np.int64),
}
