"""Networks with a state: LSTM and GRU, whose steps compute in integers."""

from __future__ import annotations

import numpy as np

NETS = {
    "an LSTM and a linear layer": """
        g (float[3,1,6] x, float[1,20,6] w1, float[1,20,5] r1, float[1,40] b1, float[5,4] w2)
          => (float[1,1,4] y)
        { a, h, c = LSTM <hidden_size = 5> (x, w1, r1, b1)  y = MatMul(h, w2) }""",
    "a GRU in both directions": """
        g (float[2,1,6] x, float[2,15,6] w1, float[2,15,5] r1, float[5,4] w2)
          => (float[2,2,1,4] y)
        { a, h = GRU <hidden_size = 5, direction = "bidirectional"> (x, w1, r1)
          y = MatMul(a, w2) }""",
}
CONSTANTS: dict[str, np.ndarray] = {}
